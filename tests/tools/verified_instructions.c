// SPDX-License-Identifier: Apache-2.0
// Lists the kernel programs of this project that are loaded, a line "NAME INSTRUCTIONS" each: how many instructions the verifier
// went through for it. Static, for the guests of tests/vm.
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int is_ours(const char *name)
{
	return !strncmp(name, "vmlane", strlen("vmlane"));
}

static int show(uint32_t id)
{
	struct bpf_prog_info info = {0};
	union bpf_attr attributes = {.prog_id = id};
	int program = (int)bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
	int failed;

	if (program < 0)
		return 0;  // it is gone
	memset(&attributes, 0, sizeof(attributes));
	attributes.info.bpf_fd = (uint32_t)program;
	attributes.info.info_len = sizeof(info);
	attributes.info.info = (uint64_t)(uintptr_t)&info;
	failed = bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes) != 0;
	if (!failed && is_ours(info.name))
		printf("%s %u\n", info.name, info.verified_insns);
	close(program);
	return failed;
}

int main(void)
{
	union bpf_attr attributes = {0};

	while (!bpf(BPF_PROG_GET_NEXT_ID, &attributes)) {
		uint32_t id = attributes.next_id;

		if (show(id)) {
			perror("BPF_OBJ_GET_INFO_BY_FD");
			return 1;
		}
		memset(&attributes, 0, sizeof(attributes));
		attributes.start_id = id;
	}
	return 0;
}
