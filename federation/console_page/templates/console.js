// Follows the page: every two seconds the parts whose HTML changed are exchanged, and only those.
"use strict";
const EVERY = 2000;
const shown = new Map();
let last = "";

function exchange(html) {
  const next = new DOMParser().parseFromString(html, "text/html").body;
  const page = document.getElementById("page");
  const ids = (root) => Array.from(root.querySelectorAll(":scope > [id]"), (part) => part.id).join();
  if (ids(next) !== ids(page)) {
    page.replaceChildren(...next.childNodes);
    return;
  }
  for (const part of Array.from(next.children)) {
    const old = part.id && document.getElementById(part.id);
    if (!old || shown.get(part.id) === part.outerHTML) continue;
    shown.set(part.id, part.outerHTML);
    const opened = Array.from(old.querySelectorAll("details"), (one) => one.open);
    part.querySelectorAll("details").forEach((one, place) => { one.open = opened[place] ?? one.open; });
    const scrolled = Array.from(old.querySelectorAll(".scroll"), (one) => one.scrollLeft);
    old.replaceWith(part);
    part.querySelectorAll(".scroll").forEach((one, place) => { one.scrollLeft = scrolled[place] ?? 0; });
  }
}

async function follow() {
  try {
    const answer = await fetch("part" + location.search, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    if (html !== last) exchange(html);
    last = html;
    const title = answer.headers.get("X-Page-Title");
    if (title) document.title = decodeURIComponent(title);
    document.body.classList.remove("lost");
  } catch {
    document.body.classList.add("lost");
  }
  setTimeout(follow, document.hidden ? 5 * EVERY : EVERY);
}

setTimeout(follow, EVERY);
