import {
  type Control,
  CreateResourceResponse,
  GetResourceResponse,
  ListResourcesResponse,
  RemoveResourceResponse,
  Resource,
  UpdateResourceResponse,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { refuse, required } from "@starling/api/validation";
import { newId } from "@starling/base";
import { all, byKind, byName, type ReadTx } from "@starling/store";
import type { ControlDeps } from "./deps.ts";
import { found, nameTaken } from "./errors.ts";
import { passesAny } from "./filters.ts";

type ResourceMethods = "getResource" | "listResources" | "createResource" | "updateResource" | "removeResource";

export function resourceHandlers({ store, log }: ControlDeps): Pick<Handlers<typeof Control>, ResourceMethods> {
  return {
    async getResource({ resourceId }) {
      required(resourceId, "resource ID");
      const resource = found(await store.read((tx) => tx.resources.get(resourceId)), "resource", resourceId);
      return GetResourceResponse.create({ resource });
    },

    async listResources({ filters }) {
      const kind = filters?.kind ?? "";
      const resources = await store.read((tx) => tx.resources.find(kind === "" ? all : byKind(kind)));
      return ListResourcesResponse.create({
        resources: resources.filter(({ id, annotations: { name, labels } }) =>
          passesAny(filters, { id, name, labels }),
        ),
      });
    },

    async createResource({ annotations, kind, payload }) {
      if (!annotations || annotations.name === "") refuse("Resource must have a name");
      if (kind === "") refuse("Resource must belong to an Extension");
      const resource = Resource.create({ id: newId(), annotations, kind, payload });
      const created = await store.update((tx) => {
        if (!isRegistered(tx, kind)) refuse(`Kind ${kind} is not registered: create an extension of that name first`);
        const holder = tx.resources.find(byName(annotations.name))[0];
        if (holder) throw nameTaken("resource", annotations.name, holder.id);
        return tx.resources.create(resource);
      });
      log.info("resource created", { "resource.id": resource.id, "resource.name": annotations.name });
      return CreateResourceResponse.create({ resource: created });
    },

    async updateResource(request) {
      const { resourceId, annotations, payload } = request;
      required(resourceId, "resource ID");
      const version = required(request.resourceVersion, "resource version");
      const updated = await store.update((tx) => {
        const resource = found(tx.resources.get(resourceId), "resource", resourceId);
        if (annotations && annotations.name !== resource.annotations.name) refuse("cannot change resource name");
        const next: Resource = {
          ...resource,
          meta: { ...resource.meta, version },
          annotations: annotations ?? resource.annotations,
          payload: payload ?? resource.payload,
        };
        return tx.resources.update(next);
      });
      return UpdateResourceResponse.create({ resource: updated });
    },

    async removeResource({ resourceId }) {
      required(resourceId, "resource ID");
      await store.update((tx) => {
        found(tx.resources.get(resourceId), "resource", resourceId);
        tx.resources.delete(resourceId);
      });
      return RemoveResourceResponse.create();
    },
  };
}

function isRegistered(tx: ReadTx, kind: string): boolean {
  return tx.extensions.find(byName(kind)).length > 0;
}
