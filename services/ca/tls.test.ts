import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect, createServer, type TlsOptions } from "node:tls";
import { systemClock } from "@starling/base";
import { expect, it, onTestFinished } from "vitest";
import { contextOf } from "./credentials.ts";
import { bootstrapIdentity } from "./identity.ts";

/** The protocol and cipher that client and server agree on, or "refused". */
async function agreed(server: TlsOptions, client: ConnectionOptions): Promise<string> {
  const listening = createServer(server, (socket) => socket.on("error", () => undefined));
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  const { port } = listening.address() as AddressInfo;
  try {
    return await new Promise((resolve) => {
      const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...client }, () => {
        resolve(`${socket.getProtocol()} ${socket.getCipher().name}`);
        socket.destroy();
      });
      socket.on("error", () => resolve("refused"));
    });
  } finally {
    listening.close();
  }
}

it("managers speak TLS 1.2 and 1.3 only, with forward secrecy and authenticated encryption", async () => {
  const dir = mkdtempSync(join(tmpdir(), "starling-tls-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const ours = contextOf(await bootstrapIdentity(dir, systemClock));
  const anything = "ALL:@SECLEVEL=0";
  const lax: TlsOptions = { ...ours, minVersion: "TLSv1", ciphers: anything };
  const weak: readonly ConnectionOptions[] = [
    { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: anything },
    { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" },
  ];
  for (const client of weak) {
    expect(await agreed(lax, client), "a server that asks for nothing takes it").not.toBe("refused");
    expect(await agreed(ours, client)).toBe("refused");
  }
  expect(await agreed(ours, { maxVersion: "TLSv1.2" })).toMatch(/^TLSv1\.2 ECDHE-ECDSA-(AES\d+-GCM|CHACHA20)/);
  expect(await agreed(ours, {})).toMatch(/^TLSv1\.3 TLS_/);
});
