// nftables by libnftables, in the calling thread's network namespace.
#pragma once

#include <cstdint>
#include <string>

namespace starling::net {

struct NftResult {
  bool ok = false;
  std::string output;  // what `nft` would print
  std::string error;   // what `nft` would complain
};

// Runs `script` as `nft -f -` does: all of it or nothing. `json` prints listings as JSON. The library is loaded at the
// first call (libnftables.so.1) and keeps global state, so calls take turns. Throws std::runtime_error without it.
NftResult RunNft(const std::string& script, bool json);

}  // namespace starling::net
