/** Pure: no clock, no I/O, no randomness. */

import type { ContainerSpec } from "./gen/messages.js";

/**
 * Container label: "true" has names and balancers lead to the service's tasks as soon as their program starts, before their
 * health check says that they are healthy. For peers that must find each other to become so.
 */
export const publishNotReadyLabel = "io.starling.publish-not-ready";

export const publishesNotReady = (container: ContainerSpec | undefined): boolean =>
  container?.labels[publishNotReadyLabel] === "true";
