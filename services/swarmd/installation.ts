import { existsSync } from "node:fs";
import { join } from "node:path";
import { SwarmError } from "@starling/base";

export const version = "0.1.0";

/** The script that says what a host lacks: in the source tree, or beside the bundle of a distribution. */
export function hostCheck(): string {
  const candidates = ["../../deploy/check-host.sh", "check-host.sh"].map((path) => join(import.meta.dirname, path));
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) throw new SwarmError("NotFound", `check-host.sh is missing beside ${import.meta.dirname}`);
  return found;
}
