"use strict";
/* Which key does what. Kept in this browser; a letter is matched as typed, a digit also by its place, so that the digit
   row works unshifted on AZERTY as well. */

const KeyMap = (() => {
  const PLACE = "align-keys";
  const WHAT = {
    left_4: "Answer A is much better", left_3: "Answer A is clearly better", left_2: "Answer A is somewhat better",
    left_1: "Answer A is slightly better", right_1: "Answer B is slightly better", right_2: "Answer B is somewhat better",
    right_3: "Answer B is clearly better", right_4: "Answer B is much better", tie: "Tie", both_good: "Both good",
    both_bad: "Both bad", left_yes: "Answer A is acceptable", left_no: "Answer A is not acceptable",
    right_yes: "Answer B is acceptable", right_no: "Answer B is not acceptable", tags: "Go to the reasons", skip: "Skip, with a reason",
    flag: "Flag for the lead", edit: "Edit the better answer", comment: "Comment", undo: "Undo the last answer",
    difference: "Show what differs", unfold: "Show all of long texts", guidelines: "Guidelines", help: "These keys",
  };
  const LETTERS = {
    tie: "0", both_good: "g", both_bad: "b", left_yes: "a", left_no: "s", right_no: "k", right_yes: "l", tags: "t", skip: "x",
    flag: "f", edit: "e", comment: "c", undo: "u", difference: "d", unfold: "m", guidelines: "r", help: "?",
  };
  const scale = (keys) => {
    const names = ["left_4", "left_3", "left_2", "left_1", "right_1", "right_2", "right_3", "right_4"];
    return Object.fromEntries(names.map((name, at) => [name, keys[at]]));
  };
  const PRESETS = {
    digits: { ...LETTERS, ...scale("12345678") },
    azerty: { ...LETTERS, ...scale("&é\"'(-è_"), tie: "à" },
    home: { ...LETTERS, ...scale("asdfjkl;"), left_yes: "q", left_no: "w", right_no: "o", right_yes: "p", flag: "z", difference: "v", tie: "h" },
  };
  let map = load();

  function load() {
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(PLACE));
    } catch (error) {
      console.warn("The kept keys could not be read; the usual ones are used.", error);
    }
    const fits = kept && Object.keys(WHAT).every((name) => typeof kept[name] === "string" && kept[name]);
    return fits ? kept : { ...PRESETS.digits };
  }

  function set(wanted) {
    map = wanted;
    localStorage.setItem(PLACE, JSON.stringify(map));
  }

  /* The action of a key press, or undefined. */
  function action(event) {
    const typed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const place = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
    return named(typed) || (place ? named(place[1]) : undefined);
  }

  const named = (key) => Object.keys(map).find((name) => map[name] === key);

  return {
    actions: WHAT,
    action,
    label: (name) => (map[name] || "").toUpperCase(),
    preset: (name) => set({ ...PRESETS[name] }),
    /* Gives a key to an action; what had it before takes the old one in exchange. */
    change(name, key) {
      const other = named(key);
      const changed = { ...map, [name]: key };
      if (other && other !== name) changed[other] = map[name];
      set(changed);
      return other && other !== name ? other : null;
    },
  };
})();
