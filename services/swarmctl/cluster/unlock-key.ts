import { CA, type ClusterSpec, formatUnlockKey, GetUnlockKeyRequest } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { changeCluster } from "./change.ts";

interface UnlockKeyFlags {
  readonly quiet?: boolean;
  readonly rotate?: boolean;
}

export const unlockKey: Command<UnlockKeyFlags> = {
  arguments: "[cluster]",
  flags: [
    { flags: "-q, --quiet", help: "Only display the key" },
    { flags: "--rotate", help: "Make a new key; managers lock themselves with it at once" },
  ],
  async run(context, [reference], { quiet, rotate }) {
    if (rotate) {
      const rotation = { managerUnlockKey: true };
      await changeCluster(context, reference, { change: checkAutolock, rotation });
    }
    const key = await presentKey(context);
    if (key === undefined) return context.out(quiet ? "" : "Managers start without an unlock key: autolock is off.\n");
    if (quiet) return context.out(`${key}\n`);
    if (rotate) context.out("Successfully rotated the managers' unlock key.\n\n");
    context.out(howToUnlock(key));
  },
};

/** The spec, if there is a key to rotate. Throws FailedPrecondition. */
export function checkAutolock(spec: ClusterSpec): ClusterSpec {
  if (spec.encryptionConfig.autoLockManagers) return spec;
  const text = "there is no unlock key to rotate, autolock is off: swarmctl cluster update --autolock switches it on";
  throw new SwarmError("FailedPrecondition", text);
}

/** The key's text form. Throws FailedPrecondition when autolock was switched off meanwhile. */
export async function mustUnlockKey(context: Context): Promise<string> {
  const key = await presentKey(context);
  if (key === undefined) throw new SwarmError("FailedPrecondition", "autolock was switched off meanwhile");
  return key;
}

export function howToUnlock(key: string): string {
  return `To unlock a manager after it restarts, run \`swarmctl unlock\` on its host and give it this key:

    ${key}

Please remember to store this key in a password manager, since without it you will not be able to restart the manager.
`;
}

async function presentKey({ client }: Context): Promise<string | undefined> {
  const { unlockKey: key } = await client.call(CA.methods.getUnlockKey, GetUnlockKeyRequest.create());
  return key.length === 0 ? undefined : formatUnlockKey(key);
}
