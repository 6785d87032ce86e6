#include "shortcut.h"

#include <iterator>
#include <vector>

namespace starling::net {
namespace {

const BpfObject& Loaded(BpfObject& object) {
  object.Load();
  return object;
}

}  // namespace

Shortcut::Shortcut(const std::string& object)
    : object_(object), maps_(Loaded(object_), std::vector(std::begin(kMaps), std::end(kMaps))) {}

int Shortcut::ProgramFd(unsigned program) const { return object_.ProgramFd(kPrograms[program]); }

uint32_t Shortcut::ProgramId(unsigned program) const {
  bpf_prog_info info{};
  if (!ReadBpfInfo(ProgramFd(program), info)) FailBpf(std::string("bpf: look at program ") + kPrograms[program]);
  return info.id;
}

}  // namespace starling::net
