import { execFile } from "node:child_process";
import { existsSync } from "node:fs";

/** For systemd's answer: a host that shuts down does not wait for us. */
const timeoutMs = 500;

/** Why swarmd is told to end: its host shuts down, as systemd says, or it is only restarted. */
export function whyWeEnd(): Promise<"restart" | "shutdown"> {
  if (!existsSync("/run/systemd/system")) return Promise.resolve("restart");
  return new Promise((resolve) => {
    execFile("systemctl", ["is-system-running"], { timeout: timeoutMs }, (_error, stdout) => {
      // Its exit status is not 0 for most answers.
      resolve(stdout.trim() === "stopping" ? "shutdown" : "restart");
    });
  });
}
