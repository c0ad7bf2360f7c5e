// Shows how far an archive's transfer is. The form works without this: the browser then shows its own progress.

const form = document.querySelector("form[data-upload]");
const box = form.querySelector("[data-transfer]");
const bar = box.querySelector("progress");
const text = box.querySelector("p");
const button = form.querySelector("button[type=submit]");
let sending = false;

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes > 0 ? Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1) : 0;
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

function fail(message) {
  box.hidden = false;
  text.textContent = message;
  text.classList.add("failed");
  bar.hidden = true;
  button.disabled = sending = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const request = new XMLHttpRequest();
  request.open("POST", form.action || location.href);
  request.upload.addEventListener("progress", (progress) => {
    const { loaded, total } = progress;
    bar.value = loaded;
    bar.max = total;
    text.textContent =
      loaded < total
        ? `${size(loaded)} of ${size(total)} sent (${Math.floor((100 * loaded) / total)} %)`
        : "Everything is sent. The server is checking it.";
  });
  request.addEventListener("error", () => fail("The connection broke. Nothing was stored; try again."));
  request.addEventListener("abort", () => fail("The transfer was stopped."));
  request.addEventListener("load", () => {
    if (request.responseURL && request.status < 400 && new URL(request.responseURL).pathname !== location.pathname) {
      sending = false;
      location.assign(request.responseURL); // the job's page
      return;
    }
    const answer = new DOMParser().parseFromString(request.responseText, "text/html");
    const messages = [...answer.querySelectorAll(".error-summary li")].map((item) => item.textContent.trim());
    fail(messages.join(" ") || answer.querySelector("main p")?.textContent || `The server answered ${request.status}. Nothing was stored; try again.`);
    box.scrollIntoView({ block: "nearest" });
  });
  box.hidden = false;
  bar.hidden = false;
  bar.value = 0;
  text.textContent = "Sending…";
  text.classList.remove("failed");
  button.disabled = sending = true;
  request.send(new FormData(form));
});

// Leaving the page would stop the transfer: ask first.
addEventListener("beforeunload", (event) => {
  if (sending) {
    event.preventDefault();
  }
});
