import { CA, GetUnlockKeyRequest } from "@starling/api";
import type { Command } from "../command.ts";

const prefix = "SWMKEY-1-";

export const unlockKey: Command<{ readonly quiet?: boolean }> = {
  arguments: "[cluster]",
  flags: [{ flags: "-q, --quiet", help: "Only display the key" }],
  async run({ client, out }, _args, { quiet }) {
    const { unlockKey: key } = await client.call(CA.methods.getUnlockKey, GetUnlockKeyRequest.create());
    if (key.length === 0) return out(quiet ? "" : "Managers start without an unlock key: autolock is off.\n");
    // The human form of swarmkit's manager/encryption: base64 without padding.
    out(`${prefix}${Buffer.from(key).toString("base64").replace(/=+$/, "")}\n`);
  },
};
