# SPDX-License-Identifier: BSD-2-Clause
# Pure code only, with what it needs; each target's corpus is in the tree.
FUZZ_SECONDS ?= 3
# What `make check` finds it finds again; 0: another one each time.
FUZZ_SEED ?= 1
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SRC := $(addprefix loader/,fragment.c reassemble.c siphash.c icmp.c parse.c checksum.c tunnel.c)
FUZZ_FLAGS := -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined

# What is not instrumented comes out of an archive, where it is needed at all.
RULE_FUZZERS := $(B)/fuzz/fuzz_translate $(B)/fuzz/fuzz_apply
$(RULE_FUZZERS): FUZZ_SRC = $(addprefix loader/,translate.c paths.c filter.c words.c \
	rulefile.c addrset.c error.c)
$(RULE_FUZZERS): FUZZ_LIBS = $(B)/fuzz/rest.a $(LIB_LIBS)
$(RULE_FUZZERS): $(B)/fuzz/rest.a

$(B)/fuzz/rest.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^

$(B)/fuzz/%: tests/fuzz/%.c $(wildcard loader/*.[ch] include/*.h include/xdivert/*.h)
	$(call say,FUZZ-CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(filter-out -MMD -MP,$(ALL_CFLAGS)) $(FUZZ_FLAGS) -o $@ $< $(FUZZ_SRC) $(FUZZ_LIBS)

# New finds stay in build/; a crash leaves its input there.
check-fuzz: $(FUZZERS)
	@for t in $(notdir $^); do \
		mkdir -p $(B)/fuzz/corpus/$$t; \
		$(B)/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) \
			-seed=$(FUZZ_SEED) -verbosity=0 \
			-print_final_stats=1 -artifact_prefix=$(B)/fuzz/ \
			$(B)/fuzz/corpus/$$t tests/fuzz/corpus/$$t \
			> $(B)/fuzz/$$t.log 2>&1 || \
			{ cat $(B)/fuzz/$$t.log; exit 1; }; \
		echo "== $$t: $$(sed -n 's/^stat::number_of_executed_units: *//p' \
			$(B)/fuzz/$$t.log) runs"; \
	done

fuzz: ## the fuzzers, ten minutes each (FUZZ_SECONDS)
	@$(MAKE) --no-print-directory check-fuzz FUZZ_SEED=0 \
		FUZZ_SECONDS=$(if $(filter command line,$(origin FUZZ_SECONDS)),$(FUZZ_SECONDS),600)
