// The registry form while one types: rules turn green or red, fields that do not apply step aside.
// Without this script the form shows the rules as text and the server checks them when it is sent.

const MIB = 2 ** 20;
const MAX_PARTS = 10_000;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

const byId = (id) => document.getElementById(id);
const rowOf = (name) => document.querySelector(`.form-row.field-${name}`);

function onInput(element, act) {
  if (element) {
    element.addEventListener("input", act);
    act();
  }
}

// Rules come from the server as patterns that must match from end to end.
for (const list of document.querySelectorAll("[data-rules-of]")) {
  const input = byId(list.dataset.rulesOf);
  const rules = [...list.children].map((item) => [item, new RegExp(`^(?:${item.dataset.pattern})$`)]);
  list.classList.add("live");
  onInput(input, () => {
    const value = input.value.trim();
    let broken = false;
    for (const [item, pattern] of rules) {
      const met = pattern.test(value);
      broken ||= !met;
      item.dataset.state = value === "" ? "" : met ? "met" : "broken";
      item.querySelector(".state").textContent = value === "" ? "" : met ? " (kept)" : " (broken)";
    }
    input.toggleAttribute("data-broken", value !== "" && broken);
    if (value !== "" && broken) {
      input.setAttribute("aria-invalid", "true");
    } else {
      input.removeAttribute("aria-invalid");
    }
  });
}

// An unknown region is worth a look, no more. Other stores name theirs as they like.
const region = byId("id_region");
const endpoint = byId("id_region_endpoint");
const regionHint = document.querySelector("[data-region-hint]");
if (region && endpoint && regionHint) {
  const known = new Set([...byId("regions").options].map((option) => option.value));
  const look = () => {
    const value = region.value.trim();
    regionHint.hidden = value === "" || known.has(value) || endpoint.value.trim() !== "";
  };
  onInput(region, look);
  onInput(endpoint, look);
}

// "Use HTTPS" matters only for an endpoint without a scheme.
onInput(endpoint, () => {
  rowOf("secure").hidden = endpoint.value.includes("://");
});

const chunk = byId("id_chunk_size");
const largest = document.querySelector("[data-largest-layer]");
onInput(chunk, () => {
  let size = Number(chunk.value) * MIB * MAX_PARTS;
  if (!(size > 0 && Number.isFinite(size))) {
    return;
  }
  let unit = 0;
  while (size >= 1023.95 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  largest.textContent = `${size.toFixed(1)} ${UNITS[unit]}`;
});

// Fields that belong to one choice only; what is hidden is still sent, and the server drops what it does not need.
function showFor(chooser, value, names) {
  onInput(byId(chooser), () => {
    for (const name of names) {
      const row = rowOf(name);
      row.hidden = byId(chooser).value !== value && !row.classList.contains("errors");
    }
  });
}

showFor("id_credentials_source", "static", ["access_key", "secret_key"]);
showFor("id_encryption", "sse-kms", ["kms_key_id"]);

document.querySelector(".error-summary")?.focus();
