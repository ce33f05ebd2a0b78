"use strict";
/* Words that stand in one text only, by the longest common subsequence of words; very long texts are compared by lines. */

const Difference = (() => {
  const CELLS = 6e6;

  /* Two lists of [text, isCommon], one for each side. */
  function compare(left, right) {
    let [a, b] = [left, right].map((text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || []);
    if (a.length * b.length > CELLS) [a, b] = [left, right].map((text) => text.split(/(?<=\n)/));
    if (a.length * b.length > CELLS) return [[[left, true]], [[right, true]]];
    const start = common(a, b, (list, at) => list[at]);
    const rest = [a.slice(start), b.slice(start)];
    const end = common(rest[0], rest[1], (list, at) => list[list.length - 1 - at]);
    const middle = rest.map((list) => list.slice(0, list.length - end));
    const kept = subsequence(...middle);
    return middle.map((list, side) => merged([
      ...(side ? b : a).slice(0, start).map((word) => [word, true]),
      ...list.map((word, at) => [word, kept[side][at] === 1]),
      ...rest[side].slice(list.length).map((word) => [word, true]),
    ]));
  }

  function common(a, b, pick) {
    const most = Math.min(a.length, b.length);
    let count = 0;
    while (count < most && pick(a, count) === pick(b, count)) count += 1;
    return count;
  }

  function subsequence(a, b) {
    const width = b.length + 1;
    const best = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        const at = i * width + j;
        best[at] = a[i] === b[j] ? best[at + width + 1] + 1 : Math.max(best[at + width], best[at + 1]);
      }
    }
    const kept = [new Uint8Array(a.length), new Uint8Array(b.length)];
    for (let i = 0, j = 0; i < a.length && j < b.length;) {
      if (a[i] === b[j]) {
        kept[0][i] = kept[1][j] = 1;
        i += 1;
        j += 1;
      } else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i += 1;
      else j += 1;
    }
    return kept;
  }

  /* Neighbours of one kind as one piece; white space alone is never marked. */
  function merged(pieces) {
    const made = [];
    for (const [text, same] of pieces) {
      const isCommon = same || !text.trim();
      const last = made[made.length - 1];
      if (last && last[1] === isCommon) last[0] += text;
      else made.push([text, isCommon]);
    }
    return made;
  }

  /* Fills an element, by text nodes only. */
  function show(element, pieces) {
    element.replaceChildren(...pieces.map(([text, isCommon]) => {
      if (isCommon) return document.createTextNode(text);
      const mark = document.createElement("mark");
      mark.textContent = text;
      return mark;
    }));
  }

  return { compare, show };
})();
