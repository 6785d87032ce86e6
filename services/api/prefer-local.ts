/** Pure: no clock, no I/O, no randomness. */

/**
 * Service label: "true" has a node send new connections, by the service's ports and virtual IPs, to its own tasks alone while it
 * has some that serve. Default: to all tasks alike.
 */
export const preferLocalLabel = "io.starling.prefer-local";

/** Whether the label is set; a value that is neither true nor false counts as false (validation refuses it). */
export const prefersLocal = (serviceLabels: Readonly<Record<string, string>>): boolean =>
  serviceLabels[preferLocalLabel] === "true";
