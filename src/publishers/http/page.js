// Fetches status and tags each second and shows them. Nothing is ever inserted as HTML: names, units
// and texts come from files and devices, so they go into the page as text only.
"use strict";

const EVERY = 1000, PATIENCE = 4000;
const $ = (id) => document.getElementById(id);

function set(element, text) {
  text = String(text);
  if (element.textContent !== text) element.textContent = text;
}
function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
function mark(element, kind, text) {
  const className = "mark " + kind;
  if (element.className !== className) element.className = className;
  set(element, text);
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (n) => whole.format(n).replaceAll(",", "\u202f");
function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 100) return Math.round(s) + " s";
  if (s < 6000) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
}
function bytes(n) {
  if (n < 1024) return n + " B";
  if (n < 1048576) return (n / 1024).toFixed(0) + " KiB";
  return (n / 1048576).toFixed(1) + " MiB";
}
// Floats and arrays are shortened for the eye; the full value is in the cell's tooltip.
function show(tag) {
  return short(tag.value);
}
function short(v) {
  if (Array.isArray(v)) {
    return "[" + v.slice(0, 4).map(short).join(", ") + (v.length > 4 ? ", … " + v.length + " values]" : "]");
  }
  if (v === null) return "—";
  if (typeof v === "number" && !Number.isInteger(v)) return String(Number(v.toPrecision(6)));
  if (v === "") return "(empty)";
  return String(v);
}

const STATES = {
  alive: "good", dead: "bad", unknown: "unknown",
  up: "good", down: "bad", connecting: "care", stopped: "unknown",
};

// A table whose rows are made once and changed in place.
function table(id, make_row, fill) {
  const body = $(id).tBodies[0], rows = new Map();
  return (items) => {
    const names = new Set(items.map((i) => i.name));
    for (const [name, row] of rows) if (!names.has(name)) { row.tr.remove(); rows.delete(name); }
    for (const item of items) {
      let row = rows.get(item.name);
      if (!row) {
        row = make_row();
        row.tr = make("tr");
        for (const cell of row.cells) row.tr.append(cell);
        rows.set(item.name, row);
        body.append(row.tr);
      }
      fill(row, item);
    }
  };
}
function cells(...classes) {
  return classes.map((c) => make("td", c));
}
function named(cell) {
  const main = make("span"), sub = make("span", "sub");
  cell.append(main, sub);
  return { main, sub };
}
function alarm(cell, n) {
  set(cell, count(n));
  cell.classList.toggle("alarm", n > 0);
}

let now = 0;
const devices = table("devices", () => {
  const all = cells("", "", "", "num", "num"), state = make("span");
  all[1].append(state);
  return { cells: all, name: named(all[0]), state };
}, (row, d) => {
  set(row.name.main, d.name);
  set(row.name.sub, d.description ?? "");
  mark(row.state, STATES[d.state], d.state);
  set(row.cells[2], d.link);
  set(row.cells[3], d.last_answer === null ? "never" : span(now - d.last_answer) + " ago");
  set(row.cells[4], count(d.faults));
});
const links = table("links", () => {
  const all = cells("", "", "load", "num", "num", "num", "num", "num");
  const state = make("span"), meter = make("meter"), load = make("span");
  meter.max = 1; meter.high = 0.8; meter.optimum = 0;
  all[1].append(state);
  all[2].append(meter, load);
  return { cells: all, name: named(all[0]), state, meter, load };
}, (row, l) => {
  set(row.name.main, l.name);
  mark(row.state, STATES[l.state], l.state);
  row.state.title = l.trouble ?? "";
  row.meter.value = l.load;
  set(row.load, (l.load * 100).toFixed(1) + " %");
  set(row.cells[3], count(l.requests));
  alarm(row.cells[4], l.timeouts);
  alarm(row.cells[5], l.garbled);
  alarm(row.cells[6], l.refused);
  alarm(row.cells[7], l.overruns);
});
const publishers = table("publishers", () => {
  const all = cells("", "", "", "num", "num", "num", "num", "num", "num"), state = make("span");
  all[1].append(state);
  return { cells: all, name: named(all[0]), state, address: named(all[2]) };
}, (row, p) => {
  set(row.name.main, p.name);
  set(row.name.sub, p.kind === p.name ? "" : p.kind);
  mark(row.state, STATES[p.state], p.state);
  set(row.address.main, p.address || "–");
  set(row.address.sub, p.trouble ?? "");
  const keeps = p.kind !== "http";
  set(row.cells[3], keeps ? count(p.delivered) : "–");
  set(row.cells[4], keeps ? count(p.pending) : "–");
  set(row.cells[5], p.pending > 0 ? span(p.pending_age_ms) : "–");
  if (keeps) alarm(row.cells[6], p.dropped); else set(row.cells[6], "–");
  set(row.cells[7], p.kind === "sparkplug" ? count(p.births) : "–");
  set(row.cells[8], p.kind === "opcua" ? count(p.clients) : "–");
});

// Samples a second, over the last few answers.
const seen = [];
function rate(status) {
  seen.push([status.node.now, status.store.accepted]);
  if (seen.length > 6 || seen[0][1] > status.store.accepted) seen.shift();
  const [[t0, n0], [t1, n1]] = [seen[0], seen[seen.length - 1]];
  return t1 > t0 ? ((n1 - n0) * 1000 / (t1 - t0)).toFixed(0) + " / s" : "–";
}

let nodes = new Set();
function showStatus(status) {
  now = status.node.now;
  nodes = new Set(status.devices.filter((d) => d.is_node).map((d) => d.name));
  document.title = status.node.name + " · Fieldgate";
  set($("node"), status.node.name);
  set($("group"), status.node.group);
  set($("version"), "Fieldgate " + status.node.version);
  set($("uptime"), span(now - status.node.started));
  set($("clock"), new Date(now).toISOString().slice(0, 19).replace("T", " "));
  set($("rate"), rate(status));
  const good = status.health.status === "good";
  mark($("health"), good ? "good" : "care", good ? "all good" : status.health.status);
  const list = $("problems");
  list.hidden = good;
  const problems = status.health.problems;
  while (list.children.length > problems.length) list.lastChild.remove();
  problems.forEach((problem, i) => set(list.children[i] ?? list.appendChild(make("li")), problem));
  const store = status.store;
  set($("store"), `${count(store.accepted)} samples accepted · ${bytes(store.memory_bytes)} in memory · ${bytes(store.spool_bytes)} on disk`);
  devices(status.devices.filter((d) => !d.is_node));
  links(status.links);
  publishers(status.publishers);
}

let groups = new Map(), rows = new Map(), shape = "";
const COLUMNS = [["c-name", "tag"], ["c-value num", "value"], ["c-unit", "unit"], ["c-quality", "quality"], ["c-age num", "age"]];

function build(tags) {
  groups = new Map();
  rows = new Map();
  for (const tag of tags) {
    let group = groups.get(tag.device);
    if (!group) {
      const details = make("details"), summary = make("summary"), trouble = make("span");
      const size = make("span", "soft"), head = make("tr"), body = make("tbody"), all = make("table");
      details.open = !nodes.has(tag.device);
      summary.append(make("span", "", tag.device), size, trouble);
      for (const [className, text] of COLUMNS) head.append(make("th", className, text));
      const top = make("thead");
      top.append(head);
      all.append(top, body);
      details.append(summary, all);
      group = { details, body, size, trouble, rows: [] };
      groups.set(tag.device, group);
    }
    const tr = make("tr"), [name, value, unit, quality, age] = cells("", "num value", "unit", "", "num soft");
    const label = make("span", "", tag.tag);
    name.append(label);
    if (tag.writable) name.append(make("span", "writable", "writable"));
    name.append(make("span", "sub", tag.description ?? ""));
    set(unit, tag.unit ?? "");
    value.title = tag.type;
    const state = make("span");
    quality.append(state);
    tr.append(name, value, unit, quality, age);
    group.body.append(tr);
    const row = { tr, value, state, age, bad: false, words: "" };
    group.rows.push(row);
    rows.set(tag.path, row);
  }
  $("tags").replaceChildren(...[...groups.values()].map((g) => g.details));
}

function showTags(answer) {
  const tags = answer.tags;
  const shapeNow = JSON.stringify(tags.map((t) => [t.path, t.type, t.unit, t.description, t.writable]));
  if (shapeNow !== shape) {
    build(tags);
    shape = shapeNow;
  }
  for (const tag of tags) {
    const row = rows.get(tag.path);
    set(row.value, show(tag));
    const title = (tag.value === null ? "no value" : String(tag.value)) + " (" + tag.type + ")"
      + (tag.at === null ? "" : ", " + new Date(tag.at).toISOString());
    if (row.value.title !== title) row.value.title = title;
    row.bad = tag.quality !== "good";
    row.tr.className = tag.quality === "bad" ? "is-bad" : tag.quality === "uncertain" ? "is-care" : "";
    if (row.bad) mark(row.state, tag.quality === "bad" ? "bad" : "care", tag.reason ?? tag.quality);
    else if (row.state.className !== "quality-good") { row.state.className = "quality-good"; set(row.state, "good"); }
    set(row.age, tag.at === null ? "–" : span(answer.now - tag.at));
    row.words = [tag.path, tag.unit, tag.description, tag.quality, tag.reason].join(" ").toLowerCase();
  }
  filter();
}

function filter() {
  const wanted = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean), onlyBad = $("only-bad").checked;
  let shown = 0, bad = 0;
  for (const group of groups.values()) {
    let here = 0, badHere = 0;
    for (const row of group.rows) {
      const fits = (!onlyBad || row.bad) && wanted.every((word) => row.words.includes(word));
      if (row.tr.hidden === fits) row.tr.hidden = !fits;
      here += fits;
      badHere += row.bad;
    }
    group.details.hidden = here === 0;
    set(group.size, group.rows.length + (group.rows.length === 1 ? " tag" : " tags"));
    group.trouble.hidden = badHere === 0;
    if (badHere) mark(group.trouble, "bad", badHere + " not good");
    shown += here;
    bad += badHere;
  }
  set($("shown"), shown === rows.size ? `${rows.size}, ${bad} not good` : `${shown} of ${rows.size}, ${bad} not good`);
  $("none").hidden = shown > 0 || rows.size === 0;
}
$("filter").addEventListener("input", filter);
$("only-bad").addEventListener("change", filter);

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(path + " answered " + answer.status);
  return answer.json();
}

let lastAnswer = null;
function lost() {
  const since = lastAnswer === null ? "" : " for " + span(Date.now() - lastAnswer);
  set($("lost"), "No answer from the gateway" + since + (lastAnswer === null ? "." : ". What is shown below is old."));
  $("lost").hidden = false;
  document.body.classList.add("stale");
  mark($("health"), "bad", "no answer");
}

async function refresh() {
  try {
    const [status, tags] = await Promise.all([ask("/api/v1/status"), ask("/api/v1/tags")]);
    showStatus(status);
    showTags(tags);
    lastAnswer = Date.now();
    $("lost").hidden = true;
    document.body.classList.remove("stale");
  } catch (error) {
    console.warn(error);
    lost();
  }
}
(async function run() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((done) => setTimeout(done, EVERY));
  }
})();
