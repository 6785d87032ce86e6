import {
  type Control,
  CreateExtensionResponse,
  Extension,
  GetExtensionResponse,
  RemoveExtensionResponse,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { refuse, required } from "@starling/api/validation";
import { newId } from "@starling/base";
import { byKind, byName } from "@starling/store";
import type { ControlDeps } from "./deps.ts";
import { found, listed, nameTaken } from "./errors.ts";

type ExtensionMethods = "getExtension" | "createExtension" | "removeExtension";

/** How many users of an extension an error names; there may be thousands. */
const namedUsersMax = 10;

/** An extension is a kind of object that clients define; its resources are kept and watched, not understood. */
export function extensionHandlers({ store, log }: ControlDeps): Pick<Handlers<typeof Control>, ExtensionMethods> {
  return {
    async getExtension({ extensionId }) {
      required(extensionId, "extension ID");
      const extension = found(await store.read((tx) => tx.extensions.get(extensionId)), "extension", extensionId);
      return GetExtensionResponse.create({ extension });
    },

    async createExtension({ annotations, description }) {
      if (!annotations || annotations.name === "") refuse("extension name must be provided");
      const extension = Extension.create({ id: newId(), annotations, description });
      const created = await store.update((tx) => {
        const holder = tx.extensions.find(byName(annotations.name))[0];
        if (holder) throw nameTaken("extension", annotations.name, holder.id);
        return tx.extensions.create(extension);
      });
      log.info("extension created", { "extension.id": extension.id, "extension.name": annotations.name });
      return CreateExtensionResponse.create({ extension: created });
    },

    async removeExtension({ extensionId }) {
      required(extensionId, "extension ID");
      await store.update((tx) => {
        const extension = found(tx.extensions.get(extensionId), "extension", extensionId);
        const { name } = extension.annotations;
        const users = [...tx.resources.find(byKind(name)), ...tx.resources.find(byKind(extensionId))];
        if (users.length > 0) {
          const names = users.slice(0, namedUsersMax).map((resource) => resource.annotations.name);
          refuse(`extension '${name}' is in use by the following ${listed("resource", names).replace(" ", ": ")}`);
        }
        tx.extensions.delete(extensionId);
      });
      return RemoveExtensionResponse.create();
    },
  };
}
