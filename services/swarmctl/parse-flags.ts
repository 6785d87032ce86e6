import { SwarmError } from "@starling/base/errors";
import { Command as Commander, Option } from "commander";
import type { AnyCommand, Command, FlagDefinition } from "./command.ts";
import { longName } from "./commands.ts";
import { UsageError } from "./usage-error.ts";

/** Gives a commander command the arguments and flags of one of ours. */
export function configure(target: Commander, command: AnyCommand): void {
  for (const argument of command.arguments?.split(" ") ?? []) target.argument(argument);
  for (const flag of command.flags) target.addOption(optionOf(flag));
  if (command.passThrough) target.passThroughOptions();
  if (command.notes) target.addHelpText("after", `\n${command.notes}`);
}

const globals = ["socket", "resolve"];

/** The command's own flags that were given; commander's defaults (`--no-x` makes x true) and global flags are left out. */
export function givenFlags<F>(target: Commander): F {
  const values = Object.entries(target.opts());
  const own = values.filter(([key]) => target.getOptionValueSource(key) === "cli" && !globals.includes(key));
  return Object.fromEntries(own) as F;
}

/** What `argv` (behind noun and verb) means to a command. Throws UsageError, or commander's error. */
export function parseFlags<F>(
  command: Command<F>,
  argv: readonly string[],
): { readonly flags: F; readonly args: readonly string[] } {
  const target = new Commander().exitOverride().configureOutput({ writeErr: () => undefined });
  configure(target, command);
  target.parse(plainBooleans(argv, command), { from: "user" });
  return { flags: givenFlags<F>(target), args: target.args };
}

/**
 * `--tty=false` → `--no-tty` (or nothing when there is no such flag), `--tty=true` → `--tty`, as Go programs take them.
 * Words that belong to someone else (behind the first positional of a pass-through command, or `--`) stay as they are.
 */
export function plainBooleans(argv: readonly string[], { flags, passThrough }: AnyCommand): string[] {
  const withValue = new Set<string>(["-s", "--socket"]);
  const booleans = new Set<string>();
  for (const { flags: text } of flags) {
    if (!text.includes("<")) booleans.add(longName(text));
    else for (const [word] of text.matchAll(/(?<![\w-])--?[a-z][a-z-]*/g)) withValue.add(word);
  }
  const plain: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!;
    if (word === "--" || (passThrough && !word.startsWith("-"))) return [...plain, ...argv.slice(at)];
    if (withValue.has(word)) {
      plain.push(word, ...argv.slice(at + 1, at + 2));
      at++;
      continue;
    }
    const match = /^--([a-z-]+)=(true|false|1|0)$/.exec(word);
    if (!match || !booleans.has(match[1]!)) plain.push(word);
    else if (match[2] === "true" || match[2] === "1") plain.push(`--${match[1]}`);
    else if (booleans.has(`no-${match[1]}`)) plain.push(`--no-${match[1]}`);
  }
  return plain;
}

function optionOf({ flags, help, parse, list, hidden }: FlagDefinition): Option {
  const option = new Option(flags, help);
  if (hidden) option.hideHelp();
  if (list) {
    option.argParser((text: string, previous: unknown) => {
      const value = parse ? named(option, text, parse) : text;
      return [...((previous as unknown[] | undefined) ?? []), ...(Array.isArray(value) ? value : [value])];
    });
  } else if (parse) option.argParser((text: string) => named(option, text, parse));
  return option;
}

/** A parser's refusal with the flag's name before it. */
function named(option: Option, text: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text);
  } catch (thrown) {
    if (!(thrown instanceof UsageError || thrown instanceof SwarmError)) throw thrown;
    throw new UsageError(`${option.long}: ${thrown.message}`);
  }
}
