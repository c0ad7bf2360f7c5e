// Runs before the first paint: the stored theme (Django admin keeps the same one) and the sign that scripts run.
"use strict";
{
  const root = document.documentElement;
  root.dataset.js = "";
  try {
    root.dataset.theme = localStorage.getItem("theme") || "auto";
  } catch {
    root.dataset.theme = "auto"; // storage may be denied: the system's scheme then applies
  }
}
