import { SwarmError } from "@starling/base";

/** Ends this process of the orchestration bench: why on one line of standard error, status 1. */
export function fail(who: string, why: unknown): never {
  process.stderr.write(`orchestration bench: ${who} ends: ${SwarmError.from(why).message}\n`);
  process.exit(1);
}

/** From now on, whatever nobody catches ends the process so. */
export function failOnErrors(who: string): void {
  process.on("uncaughtException", (error) => fail(who, error));
}
