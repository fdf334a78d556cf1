# SPDX-License-Identifier: BSD-2-Clause
# The benchmark: its generator, its sink and the peers.
DEPS += iptables
BENCH_DEPS := iperf3 dpdk-dev librte-meta-net
BENCH_VARIANT := bench/no_completions.bpf.c
BENCH_BPF := $(filter-out $(BENCH_VARIANT),$(wildcard bench/*.bpf.c bench/peers/*.bpf.c))
BENCH_C := $(filter-out %.bpf.c,$(wildcard bench/*.c bench/peers/*.c))
BENCH := $(BENCH_C:%.c=$(B)/%)
BENCH_SKELS := $(BENCH_BPF:%.bpf.c=$(B)/%.skel.h)

.PHONY: bench bench-tools bench-no-completions

bench-tools: all $(BENCH) bench-no-completions

$(B)/bench/%.skel.h: bench/%.bpf.c $(wildcard bench/*.h bench/peers/*.h)
	$(call say,SKEL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $(@:.skel.h=.bpf.o) $<
	$(Q)$(BPFTOOL) gen skeleton $(@:.skel.h=.bpf.o) name $(notdir $*) > $@

$(B)/bench/%: bench/%.c $(BENCH_SKELS) $(wildcard bench/*.h bench/peers/*.h)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -I$(@D) -o $@ $< $(LDFLAGS) $(LIB_LIBS)

# xdivert once more, as it would be if nobody wanted completions.
bench-no-completions:
	@$(MAKE) --no-print-directory B=$(B)/no-completions \
		CFLAGS='$(CFLAGS) -DXDV_NO_COMPLETIONS=1' $(B)/no-completions/xdivert

ifneq (,$(findstring XDV_NO_COMPLETIONS,$(CFLAGS)))
$(B)/complete.bpf.o: bench/no_completions.bpf.c $(wildcard bpf/* include/xdivert/*.h)
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<
endif

# A test keeps it from rotting.
check-net: bench-tools

bench: ## ours and the peers on one topology, to build/bench.json (root); QUICK=1
	@$(MAKE) --no-print-directory deps DEPS='$(DEPS) $(BENCH_DEPS)'
	@$(MAKE) --no-print-directory bench-tools
	@$(PYTHON) bench/bench.py --mode $(if $(QUICK),quick,full)
