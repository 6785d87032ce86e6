import { FatalTaskError, TemporaryError } from "../exec/controller.ts";
import { type Attachment, needOfManagers } from "./attachment.ts";
import type { Encryption } from "./encryption/encryption.ts";
import type { ViewHolder } from "./view-holder.ts";

/**
 * Resolves when a task can be attached as planned: the managers have told of its networks, and its packets can be encrypted if they
 * must be. Throws FatalTaskError when it never can, TemporaryError when it takes too long.
 */
export async function attachable(
  attachment: Attachment,
  on: {
    readonly nodeId: string;
    readonly state: ViewHolder;
    readonly encryption: Encryption;
    readonly isCancelled: () => boolean;
  },
): Promise<void> {
  const { nodeId, state, encryption, isCancelled } = on;
  await state.until(() => isKnown(attachment, state, nodeId), { isCancelled });
  const missing = state.foreign ? needOfManagers(attachment) : undefined;
  if (missing !== undefined) throw new FatalTaskError(missing);
  const { encrypted } = attachment;
  if (encrypted.length === 0) return;
  await state.until(() => encryption.ready || encryption.problem !== undefined, { isCancelled });
  const { problem } = encryption;
  if (problem === undefined) return;
  const message = `network ${encrypted.join(", ")}: encryption can't be set up: ${problem.message}`;
  throw problem.lasting ? new FatalTaskError(message) : new TemporaryError(message);
}

function isKnown({ overlays, ingressAddress }: Attachment, state: ViewHolder, nodeId: string): boolean {
  if (!state.ready) return false;
  if (state.foreign || (overlays.length === 0 && ingressAddress === undefined)) return true;
  if (!state.view.nodes.has(nodeId)) return false;
  return overlays.every(({ networkId }) => state.view.networks.has(networkId));
}
