import { SwarmError } from "@starling/base";
import { pace } from "./pace.ts";

/**
 * Awaits a state of the outside world that sends no event. Calls `probe` every `periodMs` until it gives something other
 * than undefined or false, and returns that; throws DeadlineExceeded naming `what`, with the last error of the probe.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  options: { readonly timeoutMs?: number; readonly periodMs?: number } = {},
): Promise<Exclude<T, undefined | false>> {
  const timeoutMs = pace * (options.timeoutMs ?? 30_000);
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  do {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, options.periodMs ?? 20));
  } while (performance.now() < deadline);
  const why = last instanceof Error ? `: ${last.message}` : "";
  throw new SwarmError("DeadlineExceeded", `${what}: not so after ${timeoutMs} ms${why}`, { cause: last });
}
