import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";

/** A port of this host that nobody listens on. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

it("goes on trying to join while no manager answers", async () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-swarmd-"));
  const token = `SWMTKN-1-${"1".repeat(50)}-${"1".repeat(25)}`;
  const flags = ["--state-dir", folder, "--log-level", "debug", "--join-token", token];
  const args = [join(import.meta.dirname, "main.ts"), ...flags, "--join-addr", `127.0.0.1:${await closedPort()}`];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
  try {
    let text = "";
    for await (const chunk of child.stderr) {
      text += chunk;
      if (text.split("join will be tried again").length > 3) break;
    }
    expect(text.split("join will be tried again").length).toBeGreaterThan(3);
    expect(child.exitCode).toBeNull();
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});
