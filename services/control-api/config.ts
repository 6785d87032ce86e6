import {
  Config,
  type Control,
  CreateConfigResponse,
  GetConfigResponse,
  ListConfigsResponse,
  RemoveConfigResponse,
  sameValue,
  UpdateConfigResponse,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { refuse, required, validateConfigSpec } from "@starling/api/validation";
import { newId } from "@starling/base";
import { all, byName, byReferencedConfig } from "@starling/store";
import type { ControlDeps } from "./deps.ts";
import { found, nameTaken } from "./errors.ts";
import { passesAny } from "./filters.ts";
import { checkUnused } from "./references.ts";

type ConfigMethods = "getConfig" | "listConfigs" | "createConfig" | "updateConfig" | "removeConfig";

export function configHandlers({ store, log }: ControlDeps): Pick<Handlers<typeof Control>, ConfigMethods> {
  return {
    async getConfig({ configId }) {
      required(configId, "config ID");
      const config = found(await store.read((tx) => tx.configs.get(configId)), "config", configId);
      return GetConfigResponse.create({ config });
    },

    async listConfigs({ filters }) {
      const configs = await store.read((tx) => tx.configs.find(all));
      return ListConfigsResponse.create({
        configs: configs.filter(({ id, spec: { annotations } }) =>
          passesAny(filters, { id, name: annotations.name, labels: annotations.labels }),
        ),
      });
    },

    async createConfig(request) {
      const spec = validateConfigSpec(request.spec);
      const config = Config.create({ id: newId(), spec });
      const created = await store.update((tx) => {
        const { name } = spec.annotations;
        const holder = tx.configs.find(byName(name))[0];
        if (holder) throw nameTaken("config", name, holder.id);
        return tx.configs.create(config);
      });
      log.info("config created", { "config.id": config.id, "config.name": spec.annotations.name });
      return CreateConfigResponse.create({ config: created });
    },

    async updateConfig(request) {
      const { configId } = request;
      required(configId, "config ID");
      const version = required(request.configVersion, "config version");
      const spec = required(request.spec, "config spec");
      const updated = await store.update((tx) => {
        const config = found(tx.configs.get(configId), "config", configId);
        const sameData = spec.data.length === 0 || sameValue(spec.data, config.spec.data);
        if (spec.annotations.name !== config.spec.annotations.name || !sameData) {
          refuse("only updates to Labels are allowed: create another config and have the service use that");
        }
        const annotations = { ...config.spec.annotations, labels: spec.annotations.labels };
        const next: Config = { ...config, meta: { ...config.meta, version }, spec: { ...config.spec, annotations } };
        return tx.configs.update(next);
      });
      return UpdateConfigResponse.create({ config: updated });
    },

    async removeConfig({ configId }) {
      required(configId, "config ID");
      await store.update((tx) => {
        const config = found(tx.configs.get(configId), "config", configId);
        checkUnused("config", config.spec.annotations.name, tx.services.find(byReferencedConfig(configId)));
        tx.configs.delete(configId);
      });
      log.info("config removed", { "config.id": configId });
      return RemoveConfigResponse.create();
    },
  };
}
