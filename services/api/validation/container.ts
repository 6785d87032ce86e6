/** Pure: no clock, no I/O, no randomness. */

import { drainTimeLabel } from "../drain-time.ts";
import { durationMs, parseDuration } from "../duration.ts";
import type { ContainerSpec, Duration, HealthConfig, Mount } from "../gen/messages.js";
import { Mount_Type } from "../gen/messages.js";
import { parseImageReference } from "../image-reference.ts";
import { publishNotReadyLabel } from "../not-ready.ts";
import { runtimeOptionsOf } from "../runtime-options.ts";
import { validateConfigReferences, validateSecretReferences } from "./references.ts";
import { refuse } from "./refuse.ts";

const healthDurationMinMs = 1;
const healthTests = ["", "NONE", "CMD", "CMD-SHELL"];

/** What every container needs, whatever its service's mode. */
export function validateContainerSpec(container: ContainerSpec): void {
  validateSecretReferences(container.secrets);
  validateConfigReferences(container);
  if (container.image === "") refuse("ContainerSpec: image reference must be provided");
  parseImageReference(container.image);
  validateMounts(container.mounts);
  if (container.healthcheck) validateHealthCheck(container.healthcheck);
  if (container.stopGracePeriod && durationMs(container.stopGracePeriod) < 0) {
    refuse("ContainerSpec: stop-grace-period cannot be negative");
  }
  const drainTime = container.labels[drainTimeLabel];
  if (drainTime !== undefined && !isDrainTime(drainTime)) {
    refuse(
      `ContainerSpec: label ${drainTimeLabel} "${drainTime}" must be a duration from 0 to 24h, as in 500ms or 30s`,
    );
  }
  const notReady = container.labels[publishNotReadyLabel] ?? "false";
  if (!["true", "false"].includes(notReady)) {
    refuse(`ContainerSpec: label ${publishNotReadyLabel} "${notReady}" must be true or false`);
  }
  for (const variable of container.env) {
    if (variable === "" || variable.startsWith("=")) {
      refuse(`ContainerSpec: environment variable "${variable}" has no name: write NAME=value`);
    }
  }
  runtimeOptionsOf(container.labels);
  validateUlimits(container.ulimits);
  if (container.pidsLimit < 0) refuse(`ContainerSpec: pids limit ${container.pidsLimit} cannot be negative`);
  if (container.oomScoreAdj < -1000 || container.oomScoreAdj > 1000) {
    refuse(`ContainerSpec: oom-score-adj ${container.oomScoreAdj} must be between -1000 and 1000`);
  }
}

function isDrainTime(text: string): boolean {
  const duration = parseDuration(text);
  return duration !== undefined && durationMs(duration) >= 0 && durationMs(duration) <= 24 * 3_600_000;
}

const ulimitNames = [
  ...["as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"],
  ...["rttime", "sigpending", "stack"],
];

function validateUlimits(ulimits: ContainerSpec["ulimits"]): void {
  for (const { name, soft, hard } of ulimits) {
    if (!ulimitNames.includes(name)) refuse(`ContainerSpec: ulimit "${name}" must be one of ${ulimitNames.join(", ")}`);
    if (soft < -1 || hard < -1) refuse(`ContainerSpec: ulimit ${name}=${soft}:${hard} must be -1 (unlimited) or more`);
    if (hard !== -1 && (soft === -1 || soft > hard)) {
      refuse(`ContainerSpec: ulimit ${name}=${soft}:${hard}: the soft limit is above the hard one`);
    }
  }
}

function validateMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>();
  for (const { type, source, target } of mounts) {
    if (target === "") refuse("ContainerSpec: mount target must be provided");
    if (!isAbsolute(target)) refuse(`ContainerSpec: mount target "${target}" must be an absolute path`);
    if (targets.has(target)) refuse(`ContainerSpec: duplicate mount point: ${target}`);
    targets.add(target);
    if (type === Mount_Type.BIND && !isAbsolute(source)) {
      refuse(`ContainerSpec: bind mount source "${source}" must be an absolute path on the node`);
    }
    if (type === Mount_Type.TMPFS && source !== "") {
      refuse(`ContainerSpec: a tmpfs mount has no source: remove "${source}"`);
    }
  }
}

/** A path that starts with a template is judged on the node, when it is expanded. */
function isAbsolute(path: string): boolean {
  return path.startsWith("/") || path.startsWith("{{");
}

function validateHealthCheck(health: HealthConfig): void {
  const durations: readonly [string, Duration | undefined][] = [
    ["Interval", health.interval],
    ["Timeout", health.timeout],
    ["StartPeriod", health.startPeriod],
    ["StartInterval", health.startInterval],
  ];
  for (const [field, duration] of durations) {
    const ms = durationMs(duration);
    if (ms !== 0 && ms < healthDurationMinMs) {
      refuse(`ContainerSpec: ${field} in HealthConfig cannot be less than ${healthDurationMinMs}ms: it is ${ms}ms`);
    }
  }
  if (health.retries < 0) refuse("ContainerSpec: Retries in HealthConfig cannot be negative");
  const kind = health.test[0] ?? "";
  if (!healthTests.includes(kind)) {
    refuse(`ContainerSpec: health test must start with NONE, CMD or CMD-SHELL, not "${kind}"`);
  }
}
