import { SwarmError, systemClock } from "@starling/base";
import { Command as Commander, CommanderError, Option } from "commander";
import { GrpcClient } from "./client/grpc-client.ts";
import type { AnyCommand, FlagDefinition } from "./command.ts";
import { longName, type NounEntry, namedCommand, nouns } from "./commands.ts";
import type { Context } from "./context.ts";
import { UsageError } from "./usage-error.ts";
import { version } from "./version.ts";

/** What the process gives; tests give their own. */
export interface Surroundings extends Pick<Context, "out" | "err" | "readInput" | "terminal" | "signal"> {
  readonly env: Readonly<Record<string, string | undefined>>;
}

export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;
const defaultSocket = "/var/run/swarmd.sock";

/** Runs one command line (without interpreter and script) and gives its exit code. Never throws. */
export async function run(argv: readonly string[], surroundings: Surroundings): Promise<number> {
  let client: GrpcClient | undefined;
  const start = (globals: { readonly socket?: string; readonly resolve?: boolean }): Context => {
    client = new GrpcClient(globals.socket || surroundings.env["SWARM_SOCKET"] || defaultSocket);
    return { ...surroundings, client, clock: systemClock, resolveNames: globals.resolve !== false };
  };
  try {
    if (argv[0] === "__complete") {
      await (await import("./completion/complete.ts")).complete(argv.slice(1), start, surroundings.out);
      return exitCodes.ok;
    }
    await parse(argv, surroundings, start);
    return exitCodes.ok;
  } catch (thrown) {
    return report(thrown, surroundings);
  } finally {
    client?.close();
  }
}

async function parse(
  argv: readonly string[],
  surroundings: Surroundings,
  start: (globals: { readonly socket?: string; readonly resolve?: boolean }) => Context,
): Promise<void> {
  const { noun, verb } = namedCommand(argv);
  const loaded = await verb?.load();
  const program = new Commander("swarmctl")
    .description("Control a Swarm cluster")
    .configureOutput({ writeOut: surroundings.out, writeErr: () => undefined })
    .exitOverride()
    .enablePositionalOptions()
    .showSuggestionAfterError(true)
    .helpCommand("help [command]", "Show help for a command");
  addGlobals(program);
  for (const entry of nouns) {
    const group = program
      .command(entry.name)
      .description(entry.summary)
      .aliases([...(entry.aliases ?? [])]);
    group.enablePositionalOptions();
    for (const each of entry.verbs) {
      const command = group
        .command(each.name)
        .description(each.summary)
        .aliases([...(each.aliases ?? [])]);
      if (loaded && entry === noun && each === verb) define(command, loaded, start);
    }
    group.argument("[command]").action((word: string | undefined) => misnamed(entry, word));
  }
  program
    .command("completion <shell>")
    .description("Print the completion script of bash, zsh or fish")
    .action(async (shell: string) => {
      surroundings.out((await import("./completion/scripts.ts")).completionScript(shell));
    });
  program
    .command("version")
    .description("Print the version")
    .action(() => surroundings.out(`swarmctl ${version}\n`));
  const given = loaded ? plainBooleans(argv, loaded) : [...argv];
  await program.parseAsync(given.length === 0 ? ["--help"] : given, { from: "user" });
}

function misnamed(noun: NounEntry, word: string | undefined): never {
  const verbs = noun.verbs.map(({ name }) => name).join(", ");
  throw new UsageError(
    word === undefined
      ? `swarmctl ${noun.name} needs a command: one of ${verbs}`
      : `swarmctl ${noun.name} has no command "${word}": use one of ${verbs}`,
  );
}

function addGlobals(command: Commander): void {
  command
    .option("-s, --socket <path>", `Socket of the Swarm manager, or env SWARM_SOCKET (${defaultSocket})`)
    .option("-n, --no-resolve", "Do not map IDs to names when displaying them");
}

function define(command: Commander, loaded: AnyCommand, start: (globals: object) => Context): void {
  for (const argument of loaded.arguments?.split(" ") ?? []) command.argument(argument);
  for (const flag of loaded.flags) command.addOption(optionOf(flag));
  addGlobals(command);
  if (loaded.passThrough) command.passThroughOptions();
  if (loaded.notes) command.addHelpText("after", `\n${loaded.notes}`);
  command.action(async () => {
    const globals = command.optsWithGlobals<{ socket?: string; resolve?: boolean }>();
    const noResolve = [command, command.parent?.parent].some((each) => each?.opts()["resolve"] === false);
    await loaded.run(start({ ...globals, resolve: !noResolve }), command.args, command.opts());
  });
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

/** `--tty=false` → `--no-tty` (or nothing when there is no such flag), `--tty=true` → `--tty`, as Go programs take them. */
function plainBooleans(argv: readonly string[], { flags }: AnyCommand): string[] {
  const longs = new Set(
    flags.filter(({ flags: text }) => !text.includes("<")).map(({ flags: text }) => longName(text)),
  );
  return argv.flatMap((word) => {
    const match = /^--([a-z-]+)=(true|false|1|0)$/.exec(word);
    if (!match || !longs.has(match[1]!)) return [word];
    if (match[2] === "true" || match[2] === "1") return [`--${match[1]}`];
    return longs.has(`no-${match[1]}`) ? [`--no-${match[1]}`] : [];
  });
}

/** One line on standard error, and the exit code. */
function report(thrown: unknown, { err, signal }: Surroundings): number {
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return exitCodes.ok;
    err(`Error: ${thrown.message.replace(/^error: /, "").replace(/\n\(Did you mean/, " (did you mean")}\n`);
    return exitCodes.usage;
  }
  if (thrown instanceof UsageError) {
    err(`Error: ${thrown.message}\n`);
    return exitCodes.usage;
  }
  if (signal.aborted) return exitCodes.interrupted;
  err(`Error: ${SwarmError.from(thrown).message.replace(/\s*\n\s*/g, " ")}\n`);
  return exitCodes.failed;
}
