import {
  type Control,
  CreateSecretResponse,
  GetSecretResponse,
  ListSecretsResponse,
  RemoveSecretResponse,
  Secret,
  sameValue,
  UpdateSecretResponse,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { refuse, required, validateSecretSpec } from "@starling/api/validation";
import { newId, SwarmError } from "@starling/base";
import { all, byName, byReferencedSecret } from "@starling/store";
import type { ControlDeps } from "./deps.ts";
import { found, nameTaken } from "./errors.ts";
import { passesAny } from "./filters.ts";
import { redactSecret } from "./redact.ts";
import { checkUnused } from "./references.ts";

type SecretMethods = "getSecret" | "listSecrets" | "createSecret" | "updateSecret" | "removeSecret";

/** Data goes in and never comes out. */
export function secretHandlers({ store, log }: ControlDeps): Pick<Handlers<typeof Control>, SecretMethods> {
  return {
    async getSecret({ secretId }) {
      required(secretId, "secret ID");
      const secret = found(await store.read((tx) => tx.secrets.get(secretId)), "secret", secretId);
      return GetSecretResponse.create({ secret: redactSecret(secret) });
    },

    async listSecrets({ filters }) {
      const secrets = await store.read((tx) => tx.secrets.find(all));
      return ListSecretsResponse.create({
        secrets: secrets
          .filter(
            ({ id, internal, spec: { annotations } }) =>
              !internal && passesAny(filters, { id, name: annotations.name, labels: annotations.labels }),
          )
          .map(redactSecret),
      });
    },

    async createSecret(request) {
      const spec = validateSecretSpec(request.spec);
      if (spec.driver) {
        throw new SwarmError("Unimplemented", `secret driver "${spec.driver.name}": drivers are not offered yet`);
      }
      const secret = Secret.create({ id: newId(), spec });
      const created = await store.update((tx) => {
        const { name } = spec.annotations;
        const holder = tx.secrets.find(byName(name))[0];
        if (holder) throw nameTaken("secret", name, holder.id);
        return tx.secrets.create(secret);
      });
      log.info("secret created", { "secret.id": secret.id, "secret.name": spec.annotations.name });
      return CreateSecretResponse.create({ secret: redactSecret(created) });
    },

    async updateSecret(request) {
      const { secretId } = request;
      required(secretId, "secret ID");
      const version = required(request.secretVersion, "secret version");
      const spec = required(request.spec, "secret spec");
      const updated = await store.update((tx) => {
        const secret = found(tx.secrets.get(secretId), "secret", secretId);
        const sameData = spec.data.length === 0 || sameValue(spec.data, secret.spec.data);
        if (spec.annotations.name !== secret.spec.annotations.name || !sameData) {
          refuse("only updates to Labels are allowed: create another secret and have the service use that");
        }
        const annotations = { ...secret.spec.annotations, labels: spec.annotations.labels };
        const next: Secret = { ...secret, meta: { ...secret.meta, version }, spec: { ...secret.spec, annotations } };
        return tx.secrets.update(next);
      });
      return UpdateSecretResponse.create({ secret: redactSecret(updated) });
    },

    async removeSecret({ secretId }) {
      required(secretId, "secret ID");
      await store.update((tx) => {
        const secret = found(tx.secrets.get(secretId), "secret", secretId);
        checkUnused("secret", secret.spec.annotations.name, tx.services.find(byReferencedSecret(secretId)));
        tx.secrets.delete(secretId);
      });
      log.info("secret removed", { "secret.id": secretId });
      return RemoveSecretResponse.create();
    },
  };
}
