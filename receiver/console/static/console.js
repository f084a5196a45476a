// Reads a page marked `data-live` again every 5 s and replaces its <main>, while the page is visible and nobody is at
// work on it. Without this script, the page has a link that does it.
"use strict";

const PAUSE = 5000;

function isChanged(field) {
  if (field.matches("select")) {
    const first = [...field.options].findIndex((option) => option.defaultSelected);
    return field.selectedIndex !== Math.max(first, 0);
  }
  return field.checked !== field.defaultChecked || field.value !== field.defaultValue;
}

function isInUse(main) {
  const active = document.activeElement;
  if (main.contains(active) && active !== main) {
    return true;
  }
  const fields = main.querySelectorAll("input:not([type=hidden]), select, textarea");
  return [...fields].some(isChanged) || !document.getSelection().isCollapsed;
}

async function readAgain() {
  const main = document.querySelector("main[data-live]");
  if (document.hidden || !main || isInUse(main)) {
    return;
  }
  const response = await fetch(location.href, { cache: "no-store", redirect: "error" });
  if (!response.ok) {
    throw new Error(`status ${response.status}`);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector("main[data-live]");
  if (fresh && !isInUse(main)) {
    const open = [...main.querySelectorAll("details")].map((one) => one.open);
    // What an order has done stays, and is not announced again.
    const notice = main.querySelector(".done");
    fresh.querySelector(".done")?.remove();
    [...main.childNodes].filter((one) => one !== notice).forEach((one) => one.remove());
    main.append(...fresh.childNodes);
    main.querySelectorAll("details").forEach((one, place) => {
      one.open = open[place] ?? one.open;
    });
  }
}

// The page says when it was read. This says that it is older than it should be: the server or the session is gone.
function tellStale() {
  const read = document.querySelector("main[data-live] .read");
  if (read && !read.querySelector(".stale")) {
    const stale = document.createElement("strong");
    stale.className = "stale";
    stale.textContent = " It could not be read again since.";
    read.append(stale);
  }
}

async function keepReading() {
  try {
    await readAgain();
  } catch {
    tellStale(); // the next attempt may succeed
  }
  setTimeout(keepReading, PAUSE);
}

if (document.querySelector("main[data-live]")) {
  setTimeout(keepReading, PAUSE);
}
