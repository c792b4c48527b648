// wordcount counts the words of the lines it is sent. A word is a run of ASCII
// letters and digits, lower-cased. "?totals" emits "word count" lines sorted by
// word; "?lines" emits how many lines were counted.
import { Daemon, Event, emitText, fail, register } from "../assembly/index";

function fold(c: u8): u8 {
  if (c >= 65 && c <= 90) return c + 32;
  if ((c >= 97 && c <= 122) || (c >= 48 && c <= 57)) return c;
  return 0;
}

function number(s: string): i64 {
  if (s.length == 0 || s.length > 18) return -1;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c < 48 || c > 57) return -1;
  }
  return I64.parseInt(s);
}

class WordCount extends Daemon {
  lines: i64 = 0;
  words: Map<string, i64> = new Map<string, i64>();

  count(line: Uint8Array): void {
    let word = "";
    for (let i = 0; i <= line.length; i++) {
      const c = i < line.length ? fold(line[i]) : 0;
      if (c != 0) {
        word += String.fromCharCode(c);
      } else if (word.length > 0) {
        this.words.set(word, (this.words.has(word) ? this.words.get(word) : 0) + 1);
        word = "";
      }
    }
    this.lines++;
  }

  totals(): string {
    const names = this.words.keys();
    names.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const list = new Array<string>(names.length);
    for (let i = 0; i < names.length; i++) list[i] = names[i] + " " + this.words.get(names[i]).toString();
    return list.join("\n");
  }

  process(event: Event): i32 {
    if (event.data.length <= 7) {
      const text = event.text;
      if (text == "?totals") {
        emitText(this.totals());
        return 0;
      }
      if (text == "?lines") {
        emitText(this.lines.toString());
        return 0;
      }
    }
    this.count(event.data);
    return 0;
  }

  // The state is the number of lines, a newline, and what ?totals emits.
  snapshot(): Uint8Array | null {
    return Uint8Array.wrap(String.UTF8.encode(this.lines.toString() + "\n" + this.totals()));
  }

  restore(state: Uint8Array): i32 {
    const parts = String.UTF8.decodeUnsafe(state.dataStart, state.length).split("\n");
    const lines = number(parts[0]);
    if (lines < 0 || parts.length < 2) return fail(3, "malformed state");
    const words = new Map<string, i64>();
    for (let i = 1; i < parts.length; i++) {
      if (parts[i].length == 0 && parts.length == 2) break;
      const entry = parts[i].split(" ");
      const count = entry.length == 2 ? number(entry[1]) : -1;
      if (count < 0 || entry[0].length == 0) return fail(3, "malformed state");
      for (let k = 0; k < entry[0].length; k++) {
        const c = entry[0].charCodeAt(k);
        if (c > 127 || fold(c as u8) != c) return fail(3, "malformed state");
      }
      words.set(entry[0], count);
    }
    this.lines = lines;
    this.words = words;
    return 0;
  }
}

register(new WordCount());

export { wasmhost_abi_v1, wasmhost_alloc, wasmhost_init, wasmhost_process, wasmhost_snapshot, wasmhost_restore } from "../assembly/index";
