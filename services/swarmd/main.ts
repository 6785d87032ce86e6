#!/usr/bin/env node
import { spawnSync } from "node:child_process";
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { createLogger, SwarmError } from "@starling/base";
import { parseCommand, usage } from "./flags.ts";
import { hostCheck, version } from "./installation.ts";

enableCompileCache(join(import.meta.dirname, "../../.cache/compiled"));

async function main(): Promise<number> {
  const command = parseCommand(process.argv.slice(2));
  switch (command.t) {
    case "help":
      process.stdout.write(usage);
      return 0;
    case "version":
      process.stdout.write(`swarmd ${version}\n`);
      return 0;
    case "check":
      return spawnSync("sh", [hostCheck()], { stdio: "inherit" }).status ?? 1;
    case "run": {
      const log = createLogger({ level: command.options.logLevel });
      const crash = (thrown: unknown) => {
        log.error("swarmd ends: unexpected error", { error: thrown instanceof Error ? thrown.stack : String(thrown) });
        process.exit(70);
      };
      process.on("uncaughtException", crash);
      process.on("unhandledRejection", crash);
      const { runNode } = await import("./node.ts");
      return await runNode(command.options, log);
    }
  }
}

// Pauses between attempts do not keep a process alive: without a manager to talk to, nothing else would.
setInterval(() => undefined, 2 ** 31 - 1);

main().then(
  (code) => process.exit(code),
  (thrown) => {
    process.stderr.write(`swarmd: ${SwarmError.from(thrown).message}\n`);
    process.exit(1);
  },
);
