// How values are shown. Whatever comes from a node or a guest is text, never
// markup.

export const $ = (id) => document.getElementById(id);

export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k === "class") e.className = v;
    else if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}

export function svg(tag, props = {}) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(props)) e.setAttribute(k, v);
  return e;
}

// put sets a text where it differs, so that what is selected or read stays.
export function put(e, text, cls) {
  text = String(text);
  if (e.textContent !== text) e.textContent = text;
  if (cls !== undefined && e.className !== cls) e.className = cls;
}

// sync makes the children of parent those of items: those that stay are changed in
// place, so that the keyboard's focus stays where it is.
export function sync(parent, items, key, make, change) {
  const have = parent.synced || (parent.synced = new Map());
  const seen = new Set();
  let at = parent.firstElementChild;
  for (const item of items) {
    const k = key(item);
    seen.add(k);
    let e = have.get(k);
    if (!e) {
      e = make(item);
      have.set(k, e);
    }
    if (e === at) at = at.nextElementSibling;
    else parent.insertBefore(e, at);
    change(e, item);
  }
  for (const [k, e] of have) {
    if (!seen.has(k)) {
      e.remove();
      have.delete(k);
    }
  }
}

// row makes a table row of so many cells, those named being right-aligned.
export function row(classes) {
  return el("tr", {}, ...classes.map((c) => el("td", { class: c })));
}

export const count = (n) => Number(n || 0).toLocaleString("en");

export function bytes(n) {
  if (!n) return n === 0 ? "0 B" : "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return (i && n < 100 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

export function took(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < 1) return ms.toFixed(2) + " ms";
  if (ms < 100) return ms.toFixed(1) + " ms";
  if (ms < 10000) return Math.round(ms) + " ms";
  return (ms / 1000).toFixed(1) + " s";
}

export function perSecond(n) {
  if (n === undefined) return "–";
  if (n === 0) return "0";
  return n < 10 ? n.toFixed(1) : count(Math.round(n));
}

// at is a time in milliseconds, with the fraction that Date drops.
export function at(text) {
  const m = /^(.*:\d\d)(\.\d+)?(Z|[+-].*)$/.exec(text);
  return m ? Date.parse(m[1] + m[3]) + Number("0" + (m[2] || "")) * 1000 : Date.parse(text);
}

export function clock(ms) {
  const d = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}
