import { type ContainerSpec, durationMs } from "@starling/api";
import type { Clock, Logger, Millis } from "@starling/base";
import { type Shim, ShimError } from "@starling/native";
import type { ImageConfig } from "@starling/registry";
import { FatalTaskError } from "../exec/controller.ts";

/** A health check with Docker's defaults filled in. */
export interface HealthCheck {
  readonly args: readonly string[];
  readonly intervalMs: Millis;
  readonly timeoutMs: Millis;
  readonly startPeriodMs: Millis;
  readonly startIntervalMs: Millis;
  /** Failures one after the other that make it unhealthy. */
  readonly retries: number;
}

const defaultIntervalMs = 30_000;
const defaultTimeoutMs = 30_000;
const defaultStartIntervalMs = 5_000;
const defaultRetries = 3;

/**
 * The service's check, member by member over the image's; undefined when there is none, or it says NONE. `CMD` runs a
 * program, `CMD-SHELL` a line of /bin/sh.
 */
export function healthCheckOf(spec: ContainerSpec, image: ImageConfig): HealthCheck | undefined {
  const own = spec.healthcheck;
  const base = image.healthcheck;
  const test = own !== undefined && own.test.length > 0 ? own.test : (base?.test ?? []);
  const args = argsOf(test);
  if (args === undefined) return undefined;
  const pick = (set: Millis, inherited: number | undefined, fallback: Millis) =>
    set > 0 ? set : inherited !== undefined && inherited > 0 ? inherited / 1e6 : fallback;
  return {
    args,
    intervalMs: pick(durationMs(own?.interval), base?.intervalNs, defaultIntervalMs),
    timeoutMs: pick(durationMs(own?.timeout), base?.timeoutNs, defaultTimeoutMs),
    startPeriodMs: pick(durationMs(own?.startPeriod), base?.startPeriodNs, 0),
    startIntervalMs: pick(durationMs(own?.startInterval), undefined, defaultStartIntervalMs),
    retries: own !== undefined && own.retries > 0 ? own.retries : base?.retries || defaultRetries,
  };
}

function argsOf(test: readonly string[]): readonly string[] | undefined {
  const [kind, ...rest] = test;
  if (kind === undefined || kind === "NONE") return undefined;
  if (kind === "CMD" && rest.length > 0) return rest;
  if (kind === "CMD-SHELL" && rest.length > 0) return ["/bin/sh", "-c", rest.join(" ")];
  throw new FatalTaskError(`healthcheck: test must begin with NONE, CMD or CMD-SHELL, not ${JSON.stringify(kind)}`);
}

/** What one probe means. Pure. `failures`: one after the other, this one included. */
export type Health = "starting" | "healthy" | "unhealthy";
export function healthAfter(
  before: Health,
  probe: { readonly passed: boolean; readonly failures: number; readonly inStartPeriod: boolean },
  check: HealthCheck,
): Health {
  if (probe.passed) return "healthy";
  // A container that was healthy once has ended its start period.
  if (before === "starting" && probe.inStartPeriod) return "starting";
  return probe.failures >= check.retries ? "unhealthy" : before;
}

/**
 * Probes a running container until the signal, telling each change. The first probe comes after one interval, as
 * Docker's; during the start period the start interval counts, so that a task is up soon.
 */
export async function watchHealth(
  shim: Shim,
  check: HealthCheck,
  context: {
    readonly clock: Clock;
    readonly log: Logger;
    readonly signal: AbortSignal;
    readonly startedAtMs: Millis;
    readonly onChange: (health: Health) => void;
  },
): Promise<void> {
  const { clock, log, signal } = context;
  let health: Health = "starting";
  let failures = 0;
  const inStartPeriod = () => health === "starting" && clock.now() - context.startedAtMs < check.startPeriodMs;
  while (!signal.aborted) {
    await clock.sleep(inStartPeriod() ? Math.min(check.startIntervalMs, check.intervalMs) : check.intervalMs, signal);
    const wasInStartPeriod = inStartPeriod();
    const { passed, output } = await probe(shim, check);
    if (shim.ended) return;
    failures = passed || wasInStartPeriod ? 0 : failures + 1;
    if (!passed) log.debug("health check failed", { failures, output });
    const next = healthAfter(health, { passed, failures, inStartPeriod: wasInStartPeriod }, check);
    if (next === health) continue;
    health = next;
    log.info("health changed", { health, output: next === "unhealthy" ? output : undefined });
    context.onChange(next);
  }
}

async function probe(shim: Shim, check: HealthCheck): Promise<{ readonly passed: boolean; readonly output: string }> {
  try {
    const { exitCode, timedOut, output } = await shim.exec(
      { args: check.args },
      { timeoutMs: check.timeoutMs, outputMaxBytes: 4096 },
    );
    return { passed: exitCode === 0, output: timedOut ? `timed out after ${check.timeoutMs} ms` : output };
  } catch (error) {
    if (error instanceof ShimError) return { passed: false, output: error.message };
    throw error;
  }
}
