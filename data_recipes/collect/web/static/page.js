"use strict";
/* The item's page: keys, sending with patience, boxes, folding, seconds seen. Without this script the forms work alone. */

const main = document.getElementById("main");
const said = document.getElementById("said");
const vote = document.getElementById("vote");
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
let isAnswered = false; // the task has ended here: nothing to give back when the page goes
let isSending = false;

const say = (text) => {
  said.textContent = text;
};

/* ---------------------------------------------------------------------------------------------------------- seconds seen */

const Seen = (() => {
  const PLACE = `align-seen-${main.dataset.lease}`;
  const IDLE = 60000; // without a sign of life for so long, the rest is not counted
  const STEP = 250;
  let total = Number(sessionStorage.getItem(PLACE)) || 0;
  let alive = performance.now();
  let before = performance.now();

  const count = () => {
    const now = performance.now();
    if (document.visibilityState === "visible" && now - alive < IDLE) total += Math.min(now - before, 4 * STEP);
    before = now;
  };
  for (const name of ["keydown", "pointermove", "pointerdown", "wheel", "scroll", "touchstart"]) {
    addEventListener(name, () => { alive = performance.now(); }, { passive: true, capture: true });
  }
  setInterval(count, STEP);
  return {
    keep: () => sessionStorage.setItem(PLACE, String(Math.round(total))),
    milliseconds: () => {
      count();
      return Math.round(total);
    },
    forget: () => sessionStorage.removeItem(PLACE),
  };
})();

/* --------------------------------------------------------------------------------------------------------------- sending */

const wait = (seconds) => new Promise((done) => { setTimeout(done, seconds * 1000); });

/* Sends one act until the server has acknowledged or refused it. The client id stays the same through all tries, so that a
   reply that was lost never makes two votes. */
async function send(fields) {
  for (let tries = 1; ; tries += 1) {
    const answer = await attempt(fields);
    if (answer.status < 500 && answer.status !== 429 && answer.status !== 408) return answer;
    if (answer.status === 507) return answer;
    say(answer.status === 429 ? "A moment, please …" : "Not saved yet, since the server does not answer. Trying again …");
    await wait(answer.after || Math.min(0.4 * 2 ** tries, 8));
  }
}

async function attempt(fields) {
  try {
    const signal = AbortSignal.timeout(20000);
    const response = await fetch("/entry", { method: "POST", body: fields, headers: { accept: "application/json" }, signal });
    const isJson = (response.headers.get("content-type") || "").startsWith("application/json");
    const reply = isJson ? await response.json() : { error: { title: "Not taken", text: await response.text() } };
    return { status: response.status, after: Number(response.headers.get("retry-after")), reply };
  } catch (error) { // no server, or a reply cut short: the act may or may not have been stored
    console.info("trying again", error);
    return { status: 599, after: 0, reply: null };
  }
}

async function submit(form, submitter) {
  if (isSending) return;
  const fields = fieldsOf(form, submitter);
  isSending = true;
  document.body.classList.add("sending");
  const { status, reply } = await send(fields);
  isSending = false;
  document.body.classList.remove("sending");
  if (status === 200) accepted(form, reply);
  else refused(form, status, reply.error);
}

function fieldsOf(form, submitter) {
  const fields = new URLSearchParams(new FormData(form, submitter));
  fields.set("client_id", crypto.randomUUID());
  fields.set("visible_ms", String(Seen.milliseconds()));
  return fields;
}

function accepted(form, reply) {
  one("dialog[open]")?.close();
  if (form.dataset.stays) {
    form.reset();
    say(form.dataset.stays);
    return;
  }
  if (form.id === "undo") Seen.keep();
  else {
    isAnswered = true;
    Seen.forget();
  }
  if (reply.feedback) feedback(reply.feedback);
  else leave();
}

function refused(form, status, error) {
  one("dialog[open]")?.close();
  say(`${error.title}. ${error.text}`);
  if (status !== 409) return;
  isAnswered = true;
  setTimeout(leave, 2500);
}

function leave() {
  location.replace(main.dataset.next);
}

function feedback(expected) {
  const words = { left: "answer A is better", right: "answer B is better", tie: "a tie", both_good: "both good", both_bad: "both bad" };
  const start = expected.right ? "That is what was expected" : "Another answer was expected";
  one("#feedback-text").textContent = `${start}: ${words[expected.expected]}. ${expected.text || ""}`;
  one("#feedback-box").showModal();
  one("#feedback-next").focus();
  one("#feedback-next").addEventListener("click", leave);
  one("#feedback-box").addEventListener("close", leave);
}

/* ----------------------------------------------------------------------------------------------------------------- votes */

let chosen = null; // the button pressed while an answer to "acceptable?" is missing

const missing = () => ["left", "right"].filter((side) => (
  one(`[name=acceptable_${side}]`) && !one(`[name=acceptable_${side}]:checked`)));

function choose(button) {
  for (const other of all("button[name=choice]")) other.classList.toggle("chosen", other === button);
  const waits = button.hasAttribute("formnovalidate") ? [] : missing();
  for (const side of ["left", "right"]) {
    one(`#${side}-acceptable`)?.classList.toggle("wanted", waits.includes(side));
  }
  if (!waits.length) {
    submit(vote, button);
    return;
  }
  chosen = button;
  const what = waits.length === 2 ? "is each of them" : `is ${waits[0] === "left" ? "A" : "B"}`;
  const words = button.value === "tie" ? "A tie" : button.firstElementChild.textContent;
  say(`${words}. And ${what} acceptable by itself?`);
}

for (const input of all(".acceptable input")) {
  input.addEventListener("change", () => chosen && choose(chosen));
}
vote.noValidate = true;
for (const form of all("form[data-entry]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (form === vote) choose(event.submitter);
    else submit(form, event.submitter);
  });
}
/* Enter in a field of the vote must not press its first button. */
vote.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input")) event.preventDefault();
});

/* ----------------------------------------------------------------------------------------------------------------- boxes */

function open(id) {
  const box = document.getElementById(id);
  box.showModal();
  const known = id === "edit-box" && one(`[name=side][value=${chosen?.value.split(" ")[0]}]:not(:checked)`, box);
  if (known) known.click(); // the better one was said already
  (one("[data-focus]", box) || one(known ? "textarea" : "input:not([type=hidden]), textarea, .keys button", box))?.focus();
}

for (const opener of all("[data-opens]")) {
  opener.addEventListener("click", (event) => {
    event.preventDefault();
    open(opener.dataset.opens);
  });
}
addEventListener("keydown", (event) => {
  const form = one("dialog[open] form[data-entry]");
  if (form && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
});

/* The edit begins with the text of the answer that is chosen, unless something was written already. */
const edited = one("#edit-box textarea");
for (const radio of all("#edit-box [name=side]")) {
  radio.addEventListener("change", () => {
    const starts = ["left", "right"].map((side) => one(`#${side}-start`).textContent);
    if (!edited.value || starts.includes(edited.value)) edited.value = one(`#${radio.value}-start`).textContent;
  });
}

/* ------------------------------------------------------------------------------------------------------- long and different */

const unfold = one("[data-action=unfold]");

function fold(isFolded) {
  for (const part of all("[data-folds]")) part.classList.toggle("folded", isFolded && part.dataset.isLong === "yes");
  unfold.setAttribute("aria-expanded", String(!isFolded));
  unfold.firstChild.textContent = isFolded ? "Show all " : "Fold ";
}

/* Long is what would be cut by more than a few lines; both answers are cut at one height, whichever is long. */
function measure() {
  for (const part of all("[data-folds]")) {
    part.classList.add("folded");
    const texts = part.classList.contains("answers") ? all(".answer > div:not([hidden])", part) : [part];
    part.dataset.isLong = texts.some((text) => text.scrollHeight > text.clientHeight + 80) ? "yes" : "no";
  }
  for (const more of all(".more")) {
    const text = one(":scope > div:not([hidden])", more.parentElement);
    more.hidden = text.scrollHeight <= text.clientHeight;
  }
  unfold.hidden = !one("[data-is-long=yes]");
  fold(true);
}

function difference() {
  const button = one("[data-action=difference]");
  const isOn = button.getAttribute("aria-pressed") !== "true";
  const sides = ["left", "right"];
  if (isOn && !one(".difference").firstChild) {
    const pieces = Difference.compare(...sides.map((side) => one(`#${side}-text`).textContent));
    sides.forEach((side, at) => Difference.show(one(`#${side}-answer .difference`), pieces[at]));
  }
  for (const side of sides) {
    one(`#${side}-answer > .prose`).hidden = isOn;
    one(`#${side}-answer > .difference`).hidden = !isOn;
  }
  button.setAttribute("aria-pressed", String(isOn));
}

/* A click on what lies under the fade, or focus that moves there, opens it. */
for (const part of all("[data-folds]")) {
  part.addEventListener("focusin", (event) => {
    if (part.classList.contains("folded") && event.target.closest(".prose")) fold(false);
  });
}

/* ------------------------------------------------------------------------------------------------------------------ keys */

const DO = {
  tags: () => one("#tags input")?.focus(),
  difference,
  unfold: () => unfold.hidden || fold(unfold.getAttribute("aria-expanded") === "true"),
  guidelines: () => open("guidelines-box"),
};
/* Until the next frame the focus is still in a box that was closed a moment ago. */
const isTyping = (element) => !element.closest("dialog:not([open])")
  && element.matches("textarea, select, [contenteditable], input:not([type=radio], [type=checkbox])");

function press(event) {
  const isBusy = !document.body.dataset.ready || isSending || one("dialog[open]");
  if (isBusy || event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const name = KeyMap.action(event);
  if (!name) return;
  event.preventDefault();
  if (DO[name]) DO[name]();
  else one(`[data-action=${name}]:not([disabled])`)?.click();
}
addEventListener("keydown", press);
one("[data-action=difference]").addEventListener("click", difference);
unfold.addEventListener("click", DO.unfold);
for (const more of all(".more")) more.addEventListener("click", () => fold(false));

function label() {
  for (const key of all("[data-action] kbd, label kbd, kbd[data-action]")) {
    const action = key.dataset.action || key.closest("[data-action]")?.dataset.action || one("input", key.parentElement)?.dataset.action;
    if (!action) continue;
    key.textContent = KeyMap.label(action);
    one(`button[data-action=${action}], input[data-action=${action}]`)?.setAttribute("aria-keyshortcuts", KeyMap.label(action));
  }
  for (const button of all("button[data-action]")) if (button !== unfold) button.hidden = false;
}

/* Keys that say what is acceptable are offered only where that is asked. */
const offered = () => Object.entries(KeyMap.actions).filter(([name]) => !/_(?:yes|no)$/.test(name) || one(`[data-action=${name}]`));

function listKeys() {
  one(".keys").replaceChildren(...offered().map(([name, what]) => {
    const [row, button] = [document.createElement("li"), document.createElement("button")];
    button.type = "button";
    button.textContent = KeyMap.label(name);
    button.setAttribute("aria-label", `${what}: ${KeyMap.label(name)}. Change`);
    button.addEventListener("click", () => ask(button, name, what));
    row.append(what, button);
    return row;
  }));
}

function ask(button, name, what) {
  button.textContent = "…";
  one("#keys-said").textContent = `Press the new key for “${what}”; Escape leaves it as it is.`;
  button.addEventListener("keydown", (event) => {
    event.preventDefault();
    event.stopPropagation();
    const taken = event.key.length === 1 && event.key.trim() ? KeyMap.change(name, event.key.toLowerCase()) : undefined;
    one("#keys-said").textContent = taken ? `Changed; “${KeyMap.actions[taken]}” has the old key now.` : taken === null ? "Changed." : "Left as it was.";
    listKeys();
    label();
    all(".keys button")[offered().findIndex(([other]) => other === name)].focus();
  }, { once: true });
}

for (const button of all("[data-preset]")) {
  button.addEventListener("click", () => {
    KeyMap.preset(button.dataset.preset);
    listKeys();
    label();
    one("#keys-said").textContent = "Changed.";
  });
}

/* --------------------------------------------------------------------------------------------------------- coming and going */

addEventListener("pagehide", () => {
  Seen.keep();
  if (isAnswered) return;
  const { token, view, lease } = main.dataset;
  navigator.sendBeacon("/release", new URLSearchParams({ token, view, lease }));
});
addEventListener("pageshow", (event) => event.persisted && location.reload()); // from the cache: the item may be gone
addEventListener("beforeunload", (event) => isSending && event.preventDefault());

label();
listKeys();
measure();
addEventListener("resize", () => unfold.getAttribute("aria-expanded") === "true" || measure());
/* A key that was still down for the last item must not answer this one. */
setTimeout(() => { document.body.dataset.ready = "yes"; }, 200);
