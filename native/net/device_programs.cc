#include "device_programs.h"

#include <utility>

namespace starling::net {
namespace {

const BpfObject& Loaded(BpfObject& object) {
  object.Load();
  return object;
}

}  // namespace

DevicePrograms::DevicePrograms(const std::string& object, std::vector<std::string> programs, const std::vector<std::string>& maps)
    : object_(object), programs_(std::move(programs)), maps_(Loaded(object_), maps) {}

int DevicePrograms::ProgramFd(unsigned program) const { return object_.ProgramFd(programs_.at(program).c_str()); }

uint32_t DevicePrograms::ProgramId(unsigned program) const {
  bpf_prog_info info{};
  if (!ReadBpfInfo(ProgramFd(program), info)) FailBpf("bpf: look at program " + programs_.at(program));
  return info.id;
}

}  // namespace starling::net
