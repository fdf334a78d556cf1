# SPDX-License-Identifier: BSD-2-Clause
# The benchmark: its generator, its sink and the peers.
DEPS += iptables
BENCH_DEPS := iperf3 dpdk-dev librte-net-af-packet23 librte-net-af-xdp23
BENCH_BPF := $(wildcard bench/*.bpf.c bench/peers/*.bpf.c)
BENCH := $(patsubst %.c,$(B)/%,$(filter-out $(BENCH_BPF),$(wildcard bench/*.c bench/peers/*.c)))
BENCH_SKELS := $(BENCH_BPF:%.bpf.c=$(B)/%.skel.h)

.PHONY: bench bench-tools

bench-tools: all $(BENCH)

$(B)/bench/%.skel.h: bench/%.bpf.c $(wildcard bench/*.h bench/peers/*.h)
	$(call say,SKEL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $(@:.skel.h=.bpf.o) $<
	$(Q)$(BPFTOOL) gen skeleton $(@:.skel.h=.bpf.o) name $(notdir $*) > $@

$(B)/bench/%: bench/%.c $(BENCH_SKELS) $(wildcard bench/*.h bench/peers/*.h)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -I$(@D) -o $@ $< $(LDFLAGS) $(LIB_LIBS)

# A test keeps it from rotting.
check-net: bench-tools

bench: ## ours and the peers on one topology, to build/bench.json (root); QUICK=1
	@$(MAKE) --no-print-directory deps DEPS='$(DEPS) $(BENCH_DEPS)'
	@$(MAKE) --no-print-directory bench-tools
	@$(PYTHON) bench/bench.py --mode $(if $(QUICK),quick,full)
