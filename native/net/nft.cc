#include "nft.h"

#include <dlfcn.h>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

namespace starling::net {
namespace {

struct nft_ctx;

// nftables/libnftables.h, the part used here; stable since libnftables.so.1.
struct Library {
  nft_ctx* (*ctx_new)(uint32_t flags);
  void (*ctx_free)(nft_ctx*);
  int (*buffer_output)(nft_ctx*);
  int (*buffer_error)(nft_ctx*);
  const char* (*get_output)(nft_ctx*);
  const char* (*get_error)(nft_ctx*);
  void (*set_output_flags)(nft_ctx*, unsigned int);
  int (*run_cmd)(nft_ctx*, const char*);
};
constexpr unsigned kOutputJson = 1u << 4;
constexpr unsigned kOutputNumericAll = (1u << 7) | (1u << 8) | (1u << 9) | (1u << 10);

template <typename F>
void Find(void* handle, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(handle, name));
  if (function == nullptr) throw std::runtime_error(std::string("libnftables.so.1 lacks ") + name);
}

Library Load() {
  void* handle = dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error("libnftables.so.1 is missing: install nftables (Debian: libnftables1)");
  Library library;
  Find(handle, "nft_ctx_new", library.ctx_new);
  Find(handle, "nft_ctx_free", library.ctx_free);
  Find(handle, "nft_ctx_buffer_output", library.buffer_output);
  Find(handle, "nft_ctx_buffer_error", library.buffer_error);
  Find(handle, "nft_ctx_get_output_buffer", library.get_output);
  Find(handle, "nft_ctx_get_error_buffer", library.get_error);
  Find(handle, "nft_ctx_output_set_flags", library.set_output_flags);
  Find(handle, "nft_run_cmd_from_buffer", library.run_cmd);
  return library;
}

using Context = std::unique_ptr<nft_ctx, void (*)(nft_ctx*)>;

std::mutex mu;
std::unordered_map<std::string, Context> sessions;  // GUARDED_BY(mu)

const Library& Loaded() {
  static const Library library = Load();
  return library;
}

// Frees what a context remembers of the namespace's tables: 0.5 MiB a table, which the next transaction finds out of date in any
// case. The library does so after a refusal, as of this script, which is none.
void Forget(const Library& library, nft_ctx* context) {
  library.run_cmd(context, "?");
  library.get_error(context);
}

}  // namespace

NftResult RunNft(const std::string& script, bool json, const std::string& session) {
  const std::lock_guard<std::mutex> lock(mu);
  const Library& library = Loaded();
  Context context(nullptr, library.ctx_free);
  if (auto kept = sessions.find(session); kept != sessions.end()) {
    context = std::move(kept->second);
    sessions.erase(kept);
  } else {
    context.reset(library.ctx_new(0));
    if (!context) throw std::runtime_error("nft_ctx_new failed");
    library.buffer_output(context.get());
    library.buffer_error(context.get());
  }
  library.set_output_flags(context.get(), json ? kOutputJson | kOutputNumericAll : kOutputNumericAll);
  NftResult result;
  result.ok = library.run_cmd(context.get(), script.c_str()) == 0;
  if (const char* text = library.get_output(context.get())) result.output = text;
  if (const char* text = library.get_error(context.get())) result.error = text;
  // After a refusal it starts anew.
  if (result.ok && !session.empty()) {
    Forget(library, context.get());
    sessions.emplace(session, std::move(context));
  }
  return result;
}

void CloseNft(const std::string& session) {
  const std::lock_guard<std::mutex> lock(mu);
  sessions.erase(session);
}

}  // namespace starling::net
