/** Pure: no clock, no I/O, no randomness. */

import { FileTarget } from "@starling/api";
import { UsageError } from "../usage-error.ts";
import { splitCommas } from "./values.ts";

/** A secret or config to hand to a container, still by name. */
export interface FileReference {
  readonly source: string;
  readonly file: FileTarget;
}

const modeDefault = 0o444;

/** `NAME`, `NAME:TARGET`, or `source=NAME,target=FILE,uid=0,gid=0,mode=0440`. The target is the name unless told. */
export function parseFileReference(text: string): FileReference {
  if (!text.includes("=")) {
    const [source = "", target = source, ...more] = text.split(":");
    if (source === "" || target === "" || more.length > 0) throw malformed(text, "write NAME or NAME:TARGET");
    return { source, file: FileTarget.create({ name: target, uid: "0", gid: "0", mode: modeDefault }) };
  }
  const given: Record<string, string> = {};
  for (const part of splitCommas(text)) {
    const at = part.indexOf("=");
    const key = part.slice(0, at).trim().toLowerCase();
    if (at < 0 || !["source", "src", "target", "uid", "gid", "mode"].includes(key)) {
      throw malformed(text, `"${part}" is not one of source=, target=, uid=, gid=, mode=`);
    }
    given[key === "src" ? "source" : key] = part.slice(at + 1);
  }
  const { source = "", target = source, uid = "0", gid = "0", mode = "0444" } = given;
  if (source === "") throw malformed(text, "source=NAME is missing");
  if (!/^[0-7]{1,4}$/.test(mode)) throw malformed(text, `"${mode}" is not an octal mode such as 0440`);
  return { source, file: FileTarget.create({ name: target, uid, gid, mode: Number.parseInt(mode, 8) }) };
}

function malformed(text: string, why: string): UsageError {
  return new UsageError(`"${text}" is not a secret or config reference: ${why}`);
}
