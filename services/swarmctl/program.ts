import { systemClock } from "@starling/base/clock";
import { SwarmError } from "@starling/base/errors";
import { Command as Commander, CommanderError } from "commander";
import { GrpcClient } from "./client/grpc-client.ts";
import type { AnyCommand } from "./command.ts";
import { type NounEntry, namedCommand, nouns } from "./commands.ts";
import type { Context } from "./context.ts";
import { ExitStatus } from "./exit-status.ts";
import { configure, givenFlags, plainBooleans } from "./parse-flags.ts";
import { UsageError } from "./usage-error.ts";
import { version } from "./version.ts";

/** What the process gives; tests give their own. */
export interface Surroundings extends Omit<Context, "client" | "clock" | "resolveNames"> {
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Flags that every command takes, before its noun or behind its verb. */
interface Globals {
  readonly socket?: string;
  /** False with `--no-resolve`. */
  readonly resolve?: boolean;
}

export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;
const defaultSocket = "/var/run/swarmd.sock";

/** Runs one command line (without interpreter and script) and gives its exit code. Never throws. */
export async function run(argv: readonly string[], surroundings: Surroundings): Promise<number> {
  let client: GrpcClient | undefined;
  const start = (globals: Globals): Context => {
    client = new GrpcClient(globals.socket || surroundings.env["SWARM_SOCKET"] || defaultSocket);
    return { ...surroundings, client, clock: systemClock, resolveNames: globals.resolve !== false };
  };
  try {
    if (argv[0] === "__complete") {
      await (await import("./completion/complete.ts")).complete(argv.slice(1), start, surroundings.out);
      return exitCodes.ok;
    }
    // `help service create` is `service create --help`.
    const words = argv[0] === "help" && argv.length > 1 ? [...argv.slice(1), "--help"] : argv;
    await parse(words, surroundings, start);
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
  start: (globals: Globals) => Context,
): Promise<void> {
  const { noun, verb, rest } = namedCommand(argv);
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
    group.enablePositionalOptions().usage("COMMAND [options]");
    for (const each of entry.verbs) {
      const command = group
        .command(each.name)
        .description(each.summary)
        .aliases([...(each.aliases ?? [])]);
      if (loaded && entry === noun && each === verb) define(command, loaded, start);
    }
    group.argument("[command]").action((word: string | undefined) => misnamed(entry, word));
  }
  const unlocking = program
    .command("unlock")
    .description("Unlock a manager with the key that it asks for at its start");
  if (argv.includes("unlock")) define(unlocking, (await import("./unlock.ts")).unlock, start);
  const leaving = program.command("leave").description("Have this node leave its swarm");
  if (argv.includes("leave")) define(leaving, (await import("./leave.ts")).leave, start);
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
  const head = argv.slice(0, argv.length - rest.length);
  const given = [...head, ...(loaded ? plainBooleans(rest, loaded) : rest)];
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

function define(target: Commander, command: AnyCommand, start: (globals: Globals) => Context): void {
  configure(target, command);
  addGlobals(target);
  target.action(async () => {
    const levels = [target, target.parent, target.parent?.parent].map((level) => level?.opts<Globals>());
    const socket = levels.find((level) => level?.socket)?.socket;
    const resolve = levels.every((level) => level?.resolve !== false);
    await command.run(start({ ...(socket && { socket }), resolve }), target.args, givenFlags(target));
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
  if (thrown instanceof ExitStatus) {
    if (thrown.message !== "") err(`Error: ${thrown.message}\n`);
    return thrown.code;
  }
  if (signal.aborted) return exitCodes.interrupted;
  err(`Error: ${SwarmError.from(thrown).message.replace(/\s*\n\s*/g, " ")}\n`);
  return exitCodes.failed;
}
