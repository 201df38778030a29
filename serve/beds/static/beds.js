// The bed board: asks for the forecast, shows it, asks again. Text is set as text, never as HTML.

import { occupancyChart } from "./chart.js";

const LIKELY = 0.5, POSSIBLE = 0.2;
const $ = (id) => document.getElementById(id);
const state = { answer: null, received: 0, failed: false, timer: 0, asking: null, days: null };
// `days` is null until somebody chooses: then the service has its own default.

function make(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const whole = (value) => String(Math.round(value));
const tenth = (value) => value.toFixed(1);
const span = (interval) => (interval.low === interval.high ? `${interval.low}` : `${interval.low} to ${interval.high}`);
const percent = (value) => (value > 0 && value < 0.01 ? "under 1%" : value < 1 && value > 0.99 ? "over 99%" : `${Math.round(100 * value)}%`);
const unitName = (unit) => unit ?? "No unit recorded";
const level = (chance) => (chance === null ? "" : chance >= LIKELY ? "likely" : chance >= POSSIBLE ? "possible" : "");

function format(options) {
  const formatter = new Intl.DateTimeFormat("en-GB", { timeZone: state.answer.timezone, hourCycle: "h23", ...options });
  return (moment) => formatter.format(new Date(moment));
}
// The day a row is of is a date without a time zone.
const dayOf = (options) => (day) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format(new Date(`${day.date}T12:00Z`));

function nextCount() {
  const first = state.answer.hospital.days[0];
  return state.answer.census_hour === 24 ? "at midnight" : `at ${format({ weekday: "short", hour: "2-digit", minute: "2-digit" })(first.census_at)}`;
}

// ---- asking

async function ask() {
  clearTimeout(state.timer);
  state.asking?.abort();
  const asking = (state.asking = new AbortController());
  const tooLong = setTimeout(() => asking.abort("late"), 30_000);
  try {
    const url = `v1/beds/forecast${state.days ? `?days=${state.days}` : ""}`;
    const response = await fetch(url, { headers: { Accept: "application/json" }, signal: asking.signal, cache: "no-store" });
    if (!response.ok) throw new Error(await reason(response));
    state.answer = await response.json();
    state.received = Date.now();
    state.failed = false;
    $("failure").replaceChildren();
    show();
    $("said").textContent = `Forecast of ${format({ hour: "2-digit", minute: "2-digit" })(state.answer.generated_at)} shown.`;
  } catch (error) {
    if (asking !== state.asking) return; // a later request took its place
    state.failed = true;
    fail(error instanceof TypeError || asking.signal.aborted ? "The service does not answer." : error.message);
  } finally {
    clearTimeout(tooLong);
    if (asking === state.asking) schedule();
  }
  tellTime();
}

async function reason(response) {
  if (response.status === 401) return "You are logged out.";
  try {
    return `The service could not answer: ${(await response.json()).detail}.`;
  } catch {
    return `The service could not answer (${response.status}).`;
  }
}

function fail(text) {
  const old = state.answer ? ` The numbers below are of ${format({ hour: "2-digit", minute: "2-digit" })(state.answer.generated_at)}.` : "";
  const notice = make("p", `${text}${old} `, { class: "notice bad" });
  notice.append(make("a", "Load the page again", { href: location.href }));
  $("failure").replaceChildren(notice);
}

function schedule() {
  clearTimeout(state.timer);
  if ($("auto").checked) state.timer = setTimeout(ask, 1000 * (state.failed ? 30 : (state.answer?.refresh_s ?? 60)));
}

// ---- showing

function show() {
  const { answer } = state;
  const units = $("unit"), chosen = units.value || new URLSearchParams(location.search).get("unit") || "";
  units.replaceChildren(make("option", "All units", { value: "" }), ...answer.unit_names.map((name) => make("option", unitName(name), { value: name ?? "-" })));
  offerDays(String(answer.hospital.days.length));
  units.value = [...units.options].some((option) => option.value === chosen) ? chosen : "";
  $("demo").hidden = !answer.model?.demo;
  for (const id of ["hospital", "units", "ahead"]) $(id).hidden = false;
  const every = answer.refresh_s >= 120 ? `${Math.round(answer.refresh_s / 60)} minutes` : `${answer.refresh_s} seconds`;
  $("auto-text").textContent = `Update every ${every}`;
  showWarnings();
  showFigures();
  showUnits();
  showDays();
  const model = answer.model ? `${answer.model.name} ${answer.model.version}` : "no model loaded";
  $("source").textContent =
    `Length-of-stay scores: ${answer.hospital.counts.scored} of ${answer.hospital.counts.patients_in} patients now in (${model}). ` +
    `Fitted on ${answer.data.past_stays} past stays of ${answer.data.history_days} days. Times are ${answer.timezone}.`;
}

function offerDays(shown) {
  const options = [...$("days").options];
  if (!options.some((option) => option.text === shown)) {
    const after = options.find((option) => Number(option.text) > Number(shown));
    $("days").insertBefore(make("option", shown), after ?? null);
  }
  $("days").value = shown;
}

function tellTime() {
  const { answer } = state;
  if (!answer) return;
  const minutes = Math.floor((Date.now() - state.received) / 60_000);
  const late = Date.now() - state.received > 2000 * answer.refresh_s || answer.data.stale;
  const when = format({ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })(answer.generated_at);
  const updates = answer.data.last_update ? `, encounters up to ${format({ hour: "2-digit", minute: "2-digit" })(answer.data.last_update)}` : "";
  const text = `As of ${when}${updates}${minutes >= 1 ? `, ${minutes} min ago` : ""}${late ? " – OUT OF DATE" : ""}`;
  if ($("as-of").textContent !== text) $("as-of").textContent = text;
  $("as-of").classList.toggle("late", late);
}

function showWarnings() {
  const { warnings } = state.answer;
  const old = warnings.filter((warning) => warning.code === "stale-data");
  const rest = warnings.filter((warning) => warning.code !== "stale-data");
  const parts = old.map((warning) => make("p", `Out of date: ${warning.text}`, { class: "notice bad" }));
  if (rest.length) {
    const list = make("ul");
    list.append(...rest.map((warning) => make("li", warning.text)));
    const box = make("div", undefined, { class: "notice warn" });
    box.append(list);
    parts.push(box);
  }
  $("warnings").replaceChildren(...parts);
}

function showFigures() {
  const { counts, days: [first], staffed_beds: beds } = state.answer.hospital;
  const figures = [
    ["In now", counts.patients_in, beds === null ? "staffed beds not known" : `of ${beds} staffed beds`],
    ["Still to leave", whole(first.expected_departures), `80%: ${span(first.departures_80)}; ${counts.departed_today} left already`],
    ["Still to come", whole(first.expected_scheduled_arrivals + first.expected_unscheduled_arrivals),
      `${tenth(first.expected_scheduled_arrivals)} planned, ${tenth(first.expected_unscheduled_arrivals)} not; ${counts.arrived_today} came already`],
    [`In ${nextCount()}`, whole(first.expected_occupancy), `80%: ${span(first.occupancy_80)}`],
    ["Chance over", first.probability_over_staffed === null ? "–" : percent(first.probability_over_staffed),
      beds === null ? "no staffed beds set" : `more than ${beds} patients`],
    ["Overdue", counts.overdue, "past their planned discharge"],
  ];
  $("figures").replaceChildren(...figures.map(([name, value, detail]) => {
    const box = make("div");
    box.append(make("dt", name), make("dd", value), make("dd", detail, { class: "detail" }));
    return box;
  }));
}

function chosenUnits() {
  const wanted = $("unit").value;
  const units = state.answer.units.filter((unit) => !wanted || (unit.unit ?? "-") === wanted);
  if ($("order").value === "chance") {
    const chance = (unit) => unit.days[0].probability_over_staffed ?? -1;
    units.sort((one, other) => chance(other) - chance(one));
  }
  return units;
}

function showUnits() {
  const table = $("units-table");
  const count = nextCount();
  table.caption.textContent = `Today, and the count ${count}. Small figures are 80% intervals.`;
  const heads = ["Unit", "In now", "Staffed beds", "Left today", "Still to leave", "Still to come", `In ${count}`, "Free beds then", "Chance over"];
  const head = make("tr");
  head.append(...heads.map((text) => make("th", text, { scope: "col" })));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...chosenUnits().map((unit) => row(unitName(unit.unit), unit)));
  table.tFoot.replaceChildren(row("Hospital", state.answer.hospital));
}

function row(name, { counts, staffed_beds: beds, days: [first] }) {
  const chance = first.probability_over_staffed;
  const line = make("tr", undefined, { class: level(chance) });
  const cell = (text, small, attributes) => {
    const made = make("td", text, attributes);
    if (small) made.append(make("small", small));
    line.append(made);
  };
  line.append(make("th", name, { scope: "row" }));
  cell(counts.patients_in, counts.overdue ? `${counts.overdue} overdue` : "");
  cell(beds ?? "–");
  cell(counts.departed_today);
  cell(tenth(first.expected_departures), span(first.departures_80));
  cell(tenth(first.expected_scheduled_arrivals + first.expected_unscheduled_arrivals), moves(first.expected_net_transfers));
  cell(tenth(first.expected_occupancy), span(first.occupancy_80));
  cell(first.expected_free_beds === null ? "–" : tenth(first.expected_free_beds));
  cell(chance === null ? "–" : percent(chance), level(chance), { class: "chance" });
  return line;
}

function moves(net) {
  if (Math.abs(net) < 0.05) return "";
  return net > 0 ? `${tenth(net)} by transfer` : `${tenth(-net)} move out`;
}

function showDays() {
  const cards = chosenUnits().map((unit) => card(unitName(unit.unit), unit, false));
  if (!$("unit").value) cards.unshift(card("Hospital", state.answer.hospital, true));
  $("cards").replaceChildren(...cards);
}

function card(name, part, isWhole) {
  const short = dayOf({ weekday: "short" });
  const words = part.days.map((day) => `${dayOf({ weekday: "long" })(day)} ${whole(day.expected_occupancy)}, 80% ${span(day.occupancy_80)}`);
  const beds = part.staffed_beds === null ? "" : ` Staffed beds ${part.staffed_beds}.`;
  const made = make("article", undefined, { class: isWhole ? "card whole" : "card" });
  const wide = isWhole && matchMedia("(min-width: 60rem)").matches;
  made.append(make("h3", name));
  made.append(occupancyChart(part.days, part.staffed_beds, `${name}, expected patients: ${words.join("; ")}.${beds}`, short, wide ? 1100 : 360));
  const details = make("details");
  details.append(make("summary", `Numbers of ${name} by day`), dayTable(name, part.days));
  made.append(details);
  return made;
}

function dayTable(name, days) {
  const region = make("div", undefined, { class: "scroll", role: "region", tabindex: "0", "aria-label": `Numbers of ${name} by day` });
  const table = make("table");
  table.append(make("caption", "Patients at the count and departures of the day: expected, 80% and 95% intervals."));
  const head = make("tr");
  head.append(...["Day", "Patients", "80%", "95%", "Departures", "80%", "95%", "Planned arrivals", "Other arrivals", "Net transfers", "Free beds", "Chance over"]
    .map((text) => make("th", text, { scope: "col" })));
  table.createTHead().append(head);
  const body = table.createTBody();
  for (const day of days) {
    const line = make("tr");
    line.append(make("th", dayOf({ weekday: "short", day: "numeric", month: "short" })(day), { scope: "row" }));
    const cells = [
      tenth(day.expected_occupancy), span(day.occupancy_80), span(day.occupancy_95),
      tenth(day.expected_departures), span(day.departures_80), span(day.departures_95),
      tenth(day.expected_scheduled_arrivals), tenth(day.expected_unscheduled_arrivals), tenth(day.expected_net_transfers),
      day.expected_free_beds === null ? "–" : tenth(day.expected_free_beds),
      day.probability_over_staffed === null ? "–" : percent(day.probability_over_staffed),
    ];
    line.append(...cells.map((text) => make("td", text)));
    body.append(line);
  }
  region.append(table);
  return region;
}

// ---- starting

function remember() {
  const query = new URLSearchParams();
  for (const id of ["unit", "order"]) if ($(id).value) query.set(id, $(id).value);
  if (state.days) query.set("days", state.days);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

function rearrange() {
  remember();
  if (state.answer) { showUnits(); showDays(); }
}

const asked = new URLSearchParams(location.search);
if (asked.get("order") === "chance") $("order").value = "chance";
if (/^([1-9]|1[0-4])$/.test(asked.get("days") ?? "")) state.days = asked.get("days");
$("unit").addEventListener("change", rearrange);
$("order").addEventListener("change", rearrange);
$("days").addEventListener("change", () => { state.days = $("days").value; remember(); ask(); });
$("refresh").addEventListener("click", ask);
$("auto").addEventListener("change", schedule);
$("controls").addEventListener("submit", (event) => event.preventDefault());
addEventListener("beforeprint", () => document.querySelectorAll("#cards .whole details").forEach((each) => { each.open = true; }));
document.addEventListener("visibilitychange", () => {
  // A screen that was asleep shows old numbers: ask at once.
  if (!document.hidden && $("auto").checked && state.answer && Date.now() - state.received > 1000 * state.answer.refresh_s) ask();
});
setInterval(tellTime, 10_000);
ask();
