import type { AnyCommand } from "../command.ts";
import { longName, namedCommand, nouns } from "../commands.ts";
import type { Context } from "../context.ts";
import { objectNames } from "./object-names.ts";

type Start = (globals: { readonly socket?: string }) => Context;

/**
 * Writes what may stand for the last of `words` (behind a `--`), a candidate a line: nouns, verbs, flags, and the names of
 * the cluster's objects. Says nothing when the manager can't be reached: a completion must not disturb.
 */
export async function complete(words: readonly string[], start: Start, out: (text: string) => void): Promise<void> {
  const typed = words[0] === "--" ? words.slice(1) : words;
  const last = typed.at(-1) ?? "";
  const found = await candidates(typed.slice(0, -1), last, start);
  out(
    found
      .filter((candidate) => candidate.startsWith(last))
      .map((candidate) => `${candidate}\n`)
      .join(""),
  );
}

async function candidates(before: readonly string[], last: string, start: Start): Promise<readonly string[]> {
  const { noun, verb } = namedCommand(before);
  if (!noun) return [...nouns.map(({ name }) => name), "completion", "help", "unlock", "version"];
  if (!verb) return noun.verbs.map(({ name }) => name);
  const command = await verb.load();
  if (last.startsWith("-")) return flagNames(command);
  const flag = before.at(-1) ?? "";
  if (flag === "--format") return ["json", "table"];
  const subject = flag.startsWith("--network")
    ? "network"
    : flag === "--node"
      ? "node"
      : verb.name !== "create" && takesObjects(command)
        ? noun.name
        : undefined;
  if (subject === undefined) return [];
  const at = before.findIndex((word) => word === "-s" || word === "--socket");
  const context = start(at >= 0 && before[at + 1] ? { socket: before[at + 1]! } : {});
  return objectNames(context.client, subject).catch(() => []);
}

function flagNames({ flags }: AnyCommand): string[] {
  const shown = flags.filter(({ hidden }) => !hidden).map(({ flags: text }) => `--${longName(text)}`);
  return [...shown, "--help", "--socket", "--no-resolve"];
}

/** Arguments of `create` are new names; those of other verbs are objects there are. */
function takesObjects({ arguments: text = "" }: AnyCommand): boolean {
  return /^[<[](service|node|task|network|secret|config|cluster|image|volume)/.test(text);
}
