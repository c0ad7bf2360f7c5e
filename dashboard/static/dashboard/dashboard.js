// What the pages gain from scripts. Without them every page still works.

const THEMES = ["auto", "light", "dark"];
const THEME_NAMES = { auto: "as the system", light: "light", dark: "dark" };

function nameTheme(button) {
  const theme = document.documentElement.dataset.theme;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  button.title = `Theme: ${THEME_NAMES[theme]}. Change to ${THEME_NAMES[next]}.`;
  button.setAttribute("aria-label", button.title);
}

function changeTheme(button) {
  const root = document.documentElement;
  root.dataset.theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // Storage is denied: the choice lasts as long as the page.
  }
  nameTheme(button);
}

async function copy(button) {
  const text = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard over plain http: select a text area and let the old command copy it.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "hidden-text";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.classList.add("copied");
  announce("Copied");
  setTimeout(() => button.classList.remove("copied"), 1500);
}

function announce(text) {
  const region = document.getElementById("announcer");
  if (region.textContent !== text) {
    region.textContent = text;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) {
    return;
  }
  if (button.matches("[data-copy], [data-copy-from]")) {
    copy(button);
  } else if (button.matches(".theme-button")) {
    changeTheme(button);
  } else if (button.matches("[data-dismiss]")) {
    button.closest(".alert").remove();
  }
});

// "/" goes to the search field, as long as nobody is typing.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  const search = document.querySelector(".search input");
  if (event.key === "/" && search && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});

// A box in the head of a table chooses all of its rows.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-choose-all]")) {
    for (const box of event.target.closest("table").querySelectorAll("tbody input[type=checkbox]")) {
      box.checked = event.target.checked;
    }
  } else if (event.target.matches("[data-submit-on-change]")) {
    event.target.form.requestSubmit();
  }
});

// A session that ended answers a poll with the sign-in page: show that page, not a piece of it.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, pathInfo } = event.detail;
  if (xhr.responseURL && new URL(xhr.responseURL).pathname !== new URL(pathInfo.requestPath, location.href).pathname) {
    event.detail.shouldSwap = false;
    location.reload();
  }
  logPosition = readLogPosition();
});

// A log keeps its place while htmx renews it; one that was read to its end stays at the end.
let logPosition = null;

function readLogPosition() {
  const log = document.querySelector(".log");
  return log && log.scrollTop + log.clientHeight < log.scrollHeight - 4 ? log.scrollTop : null;
}

function showLog() {
  const log = document.querySelector(".log");
  if (log) {
    log.scrollTop = logPosition ?? log.scrollHeight;
  }
}

// A progress that htmx renews is spoken in steps of a tenth, not at every poll.
document.addEventListener("htmx:afterSettle", () => {
  showLog();
  const progress = document.querySelector("[data-announce]");
  if (progress) {
    announce(progress.dataset.announce);
  }
});

for (const button of document.querySelectorAll(".theme-button")) {
  nameTheme(button);
}
showLog();
