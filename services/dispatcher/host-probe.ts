import { connect } from "node:net";
import type { Millis } from "@starling/base";

/**
 * Whether a host lives: it takes a TCP connection, or its kernel refuses one. Silence, a host that cannot be reached and a
 * port that a firewall hides are no sign of life.
 */
export function hostAnswers(host: string, port: number, timeoutMs: Millis): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const settle = (answers: boolean) => {
      socket.destroy();
      resolve(answers);
    };
    socket.setTimeout(timeoutMs, () => settle(false));
    socket.once("connect", () => settle(true));
    socket.once("error", (error: NodeJS.ErrnoException) => settle(error.code === "ECONNREFUSED"));
  });
}

/** Addresses under which a probe would reach the prober itself. */
export function isOwnHost(host: string): boolean {
  return host === "" || host === "localhost" || host === "::1" || host === "::" || /^(127\.|0\.0\.0\.0$)/.test(host);
}
