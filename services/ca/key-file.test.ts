import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatUnlockKey, lockedMessage, parseUnlockKey } from "@starling/api";
import { systemClock } from "@starling/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newCertificateRequest } from "./certificate-request.ts";
import { bootstrapIdentity, certificatesDir, NodeIdentity } from "./identity.ts";
import { decodeKeyFile, encodeKeyFile, type KeySealing, newSealingKey, unsealed } from "./key-file.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "starling-keys-"));
});
afterEach(() => rm(dir, { recursive: true }));

const kek = newSealingKey();
const dataKeys = { current: newSealingKey(), pending: newSealingKey(), needsRotation: true };
const locked: KeySealing = { kek, kekVersion: 7, raft: dataKeys };

describe("the key file", () => {
  it("holds keys in the clear or locked, and gives them back", async () => {
    const { keyPem } = await newCertificateRequest();
    expect(encodeKeyFile({ keyPem, sealing: unsealed })).toBe(keyPem);
    for (const sealing of [unsealed, { ...locked, kek: undefined }, locked, { ...locked, raft: undefined }]) {
      const text = encodeKeyFile({ keyPem, sealing });
      expect(decodeKeyFile(text, sealing.kek)).toEqual({
        keyPem,
        sealing: { raft: undefined, kek: undefined, ...sealing },
      });
    }
  });

  it("tells nothing when it is locked, and takes one unlock key only", async () => {
    const { keyPem } = await newCertificateRequest();
    const text = encodeKeyFile({ keyPem, sealing: locked });
    for (const secret of [dataKeys.current, dataKeys.pending, kek]) {
      expect(text).not.toContain(Buffer.from(secret).toString("base64"));
    }
    expect(text).not.toContain(keyPem.split("\n")[1]);
    for (const wrong of [undefined, newSealingKey(), new Uint8Array(5)]) {
      expect(() => decodeKeyFile(text, wrong)).toThrow(/invalid unlock key/);
    }
  });

  it("of a newer format, or with a damaged data key, is refused", async () => {
    const { keyPem } = await newCertificateRequest();
    const text = encodeKeyFile({ keyPem, sealing: { ...locked, kek: undefined } });
    expect(() => decodeKeyFile(text.replace("key-file: 1", "key-file: 2"), undefined)).toThrow(/update swarmd/);
    expect(() => decodeKeyFile(text.replace(/raft-dek: .*/, "raft-dek: AAAA"), undefined)).toThrow(
      /raft-dek has 3 bytes/,
    );
  });
});

describe("an identity", () => {
  it("that is locked opens with its unlock key only", async () => {
    const identity = await bootstrapIdentity(dir, systemClock);
    await identity.seal(() => locked);
    expect(await NodeIdentity.isLocked(dir)).toBe(true);
    await expect(NodeIdentity.load(dir, systemClock)).rejects.toThrow(lockedMessage);
    await expect(NodeIdentity.load(dir, systemClock, newSealingKey())).rejects.toMatchObject({
      code: "InvalidArgument",
    });
    const opened = (await NodeIdentity.load(dir, systemClock, kek))!;
    expect(opened.sealing).toEqual(locked);
    expect(opened.keyPem).toBe(identity.keyPem);
    await opened.seal((sealing) => ({ ...sealing, kek: undefined }));
    expect(await NodeIdentity.isLocked(dir)).toBe(false);
    expect((await NodeIdentity.load(dir, systemClock))!.sealing.raft).toEqual(dataKeys);
  });

  it("that renews itself and changes its lock at once loses neither", async () => {
    const identity = await bootstrapIdentity(dir, systemClock);
    const next = await renewed(identity);
    await Promise.all([
      identity.seal(() => locked),
      identity.replace(next),
      identity.seal((old) => ({ ...old, kekVersion: 9 })),
    ]);
    const opened = (await NodeIdentity.load(dir, systemClock, kek))!;
    expect(opened).toMatchObject({
      chainPem: next.chainPem,
      keyPem: next.keyPem,
      sealing: { ...locked, kekVersion: 9 },
    });
  });

  it("survives a power cut at each step of a renewal, with its data keys, and leaves no key file behind", async () => {
    const identity = await bootstrapIdentity(dir, systemClock);
    await identity.seal(() => locked);
    const next = await renewed(identity);
    const nextKey = encodeKeyFile({ keyPem: next.keyPem, sealing: locked });
    const steps: readonly (readonly (readonly [string, string])[])[] = [
      [["swarm-node.key.next", nextKey]],
      [
        ["swarm-node.key.next", nextKey],
        ["swarm-node.crt", next.chainPem],
      ],
      [
        ["swarm-node.key", nextKey],
        ["swarm-node.crt", next.chainPem],
      ],
    ];
    for (const [i, files] of steps.entries()) {
      const copy = join(dir, `copy-${i}`);
      await cp(certificatesDir(dir), certificatesDir(copy), { recursive: true });
      for (const [name, content] of files) await writeFile(join(certificatesDir(copy), name), content);
      const opened = (await NodeIdentity.load(copy, systemClock, kek))!;
      expect(opened.sealing).toEqual(locked);
      expect(opened.keyPem).toBe(i === 0 ? identity.keyPem : next.keyPem);
      expect(await readdir(certificatesDir(copy))).not.toContain("swarm-node.key.next");
      await opened.seal((sealing) => ({ ...sealing, kekVersion: 8 }));
      expect((await NodeIdentity.load(copy, systemClock, kek))!.sealing.kekVersion).toBe(8);
    }
  });

  it("whose lock was being written when the power went has the old one", async () => {
    const identity = await bootstrapIdentity(dir, systemClock);
    await identity.seal(() => locked);
    const half = encodeKeyFile({ keyPem: identity.keyPem, sealing: { ...locked, kek: newSealingKey() } }).slice(0, 200);
    await writeFile(join(certificatesDir(dir), ".swarm-node.key.tmp"), half);
    expect((await NodeIdentity.load(dir, systemClock, kek))!.sealing).toEqual(locked);
  });
});

describe("the unlock key's text", () => {
  it("is Swarm's", () => {
    const text = formatUnlockKey(new Uint8Array(32).fill(255));
    expect(text).toBe(`SWMKEY-1-${"/".repeat(42)}8`);
    expect(parseUnlockKey(` ${text}\n`)).toEqual(new Uint8Array(32).fill(255));
    for (const wrong of ["", "SWMKEY-1-", text.slice(0, -1), `${text}=`, text.replace("1", "2"), `x${text}`]) {
      expect(() => parseUnlockKey(wrong)).toThrow(/invalid unlock key: expected SWMKEY-1-/);
    }
  });
});

/** A certificate for a new key, by the bootstrap's own root. */
async function renewed(identity: NodeIdentity) {
  const root = (await identity.bootstrapRoot())!;
  const { csrPem, keyPem } = await newCertificateRequest();
  const { nodeId, role, organization } = identity;
  const chainPem = await root.signRequest(
    Buffer.from(csrPem),
    { nodeId, role, organization },
    { now: systemClock.now() },
  );
  return { chainPem, keyPem };
}
