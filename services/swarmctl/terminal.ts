import { spawnSync } from "node:child_process";
import { constants } from "node:os";
import type { Terminal } from "./context.ts";

const { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 } = constants.signals;
const forwarded = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 };

/** The process's own terminal. */
export const ownTerminal: Terminal = {
  get size() {
    const { rows, columns } = process.stdout;
    return { rows: rows || 24, columns: columns || 80 };
  },
  onResize(listener) {
    process.stdout.on("resize", listener);
    return () => process.stdout.off("resize", listener);
  },
  raw() {
    process.stdin.setRawMode(true);
    // Node leaves the translation of line ends on, but the program's own terminal has done that already. Going back undoes it.
    spawnSync("stty", ["-opost"], { stdio: ["inherit", "ignore", "ignore"] });
    return () => {
      process.stdin.setRawMode(false);
      process.stdin.pause();
    };
  },
  get keys() {
    return process.stdin;
  },
};

/** Hands the process's signals to `listener`; returns how to stop that. */
export function listenToSignals(listener: (signal: number) => void): () => void {
  const listeners = Object.entries(forwarded).map(([name, signal]) => {
    const hear = () => listener(signal);
    process.on(name as NodeJS.Signals, hear);
    return () => process.off(name as NodeJS.Signals, hear);
  });
  return () => {
    for (const stop of listeners) stop();
  };
}
