import { parseUnlockKey, Unlock, UnlockRequest } from "@starling/api";
import type { Command } from "./command.ts";

export const unlock: Command<Record<never, never>> = {
  flags: [],
  notes: "The key is asked for, or read from standard input: swarmctl unlock <key-file",
  async run({ client, readSecret }) {
    const unlockKey = parseUnlockKey(await readSecret("Please enter unlock key: "));
    await client.call(Unlock.methods.unlock, UnlockRequest.create({ unlockKey }));
  },
};
