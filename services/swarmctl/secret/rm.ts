import { Control, RemoveSecretRequest } from "@starling/api";
import { resolveSecret } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<secret...>",
  async remove({ client }, reference) {
    const { id } = await resolveSecret(client, reference);
    await client.call(Control.methods.removeSecret, RemoveSecretRequest.create({ secretId: id }));
  },
});
