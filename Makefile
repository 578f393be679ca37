# SPDX-License-Identifier: GPL-3.0-or-later
# make            libraries and the command under build/       make demo     what schemes do to the bundled model
# make check      tests (2 minutes)   make ci   the longer tier: more cases, clang, sanitizers, lint
# make extra      libquant on AArch64 under qemu (make deps-extra)
# make lint | asan | bench | bench-peers | notebooks | deps | install DESTDIR= PREFIX=   V=1 shows the commands
VERSION := 0.1.0
SOVERSION := 0
PREFIX ?= /usr/local
B ?= build
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
OPT ?= -O2
WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Werror
CPPFLAGS += -I. -D_GNU_SOURCE -D_FORTIFY_SOURCE=$(if $(findstring -O0,$(OPT))$(SAN),0,2)
CFLAGS += -std=c11 -g $(OPT) -ffp-contract=off -fno-math-errno -fno-trapping-math -fPIC -fopenmp $(WARN) $(SAN)
LDFLAGS += -fopenmp $(SAN)
LAB_LIBS := -ljansson -lgsl -lfftw3 -llapacke -lopenblas -lz
LIBM := -lm
X86 := $(filter x86_64-%,$(shell $(CC) -dumpmachine))
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)	$(2)")

CORE_SRC := $(wildcard kernels/*.c quant/*.c)
LAB_SRC := $(foreach d,bank model lab report,$(wildcard quant/$(d)/*.c))
CLI_SRC := $(wildcard quant/cli/*.c)
TEST_SRC := $(wildcard tests/*.c)
DATA_SRC := $(filter-out data/make_%,$(wildcard data/*.c))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
CORE_OBJ := $(call obj,$(CORE_SRC))
LAB_OBJ := $(call obj,$(LAB_SRC))

.PHONY: all demo check ci extra lint asan bench bench-peers figures notebooks deps deps-extra install clean test-programs
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

all: $(B)/quant $(B)/libquant.so $(B)/libquantlab.so $(B)/libquant.a $(B)/libquantlab.a \
     $(B)/libquant.pc $(B)/libquantlab.pc $(B)/make_bank $(B)/make_twin

# ---- objects --------------------------------------------------------------------------------
# "scalar" means scalar: the specification is not vectorized behind its back.
$(B)/obj/kernels/scalar_%.o: ISA := -fno-tree-vectorize -fno-tree-slp-vectorize
# Flags that this compiler lacks are left out, and the files of that level are empty then.
accepted = $(shell $(CC) $(1) -E -x c /dev/null >/dev/null 2>&1 && echo $(1))
AVX2 := $(if $(X86),$(call accepted,-mavx2 -mf16c))
AVX512 := $(if $(AVX2),$(call accepted,$(AVX2) -mavx512f -mavx512bw -mavx512dq -mavx512vl))
AVX512VNNI := $(if $(AVX512),$(call accepted,$(AVX512) -mavx512vnni))
AVX512VBMI := $(if $(AVX512),$(call accepted,$(AVX512) -mavx512vbmi -mavx512vbmi2))
$(B)/obj/kernels/avx2_%.o: ISA := $(AVX2)
$(B)/obj/kernels/avx512_%.o: ISA := $(AVX512)
$(B)/obj/kernels/avx512vnni_%.o: ISA := $(AVX512VNNI)
$(B)/obj/kernels/avx512vbmi_%.o: ISA := $(AVX512VBMI)
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA) -MMD -MP -c -o $@ $<

# ---- libraries ------------------------------------------------------------------------------
$(B)/libquant.a: $(CORE_OBJ)
$(B)/libquantlab.a: $(LAB_OBJ)
$(B)/%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcsD $@ $^

$(B)/libquant.so: $(CORE_OBJ) quant/libquant.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,libquant.so.$(SOVERSION) -Wl,--version-script=quant/libquant.map \
	  -Wl,-z,defs $(LDFLAGS) -o $@.$(VERSION) $(CORE_OBJ) $(LIBM)
	$(Q)ln -sf libquant.so.$(VERSION) $(B)/libquant.so.$(SOVERSION) && ln -sf libquant.so.$(VERSION) $@
$(B)/libquantlab.so: $(LAB_OBJ) $(B)/libquant.so quant/libquantlab.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,libquantlab.so.$(SOVERSION) -Wl,--version-script=quant/libquantlab.map \
	  -Wl,-z,defs $(LDFLAGS) -o $@.$(VERSION) $(LAB_OBJ) -L$(B) -lquant $(LAB_LIBS) $(LIBM)
	$(Q)ln -sf libquantlab.so.$(VERSION) $(B)/libquantlab.so.$(SOVERSION) && ln -sf libquantlab.so.$(VERSION) $@

$(B)/%.pc: quant/%.pc.in Makefile
	@mkdir -p $(@D)
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' $< > $@

# ---- programs -------------------------------------------------------------------------------
STATIC := $(B)/libquantlab.a $(B)/libquant.a
link = $(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(STATIC) $(1) $(LAB_LIBS) $(LIBM)
$(B)/quant: $(call obj,$(CLI_SRC)) $(STATIC)
	$(call say,LD,$@)
	$(call link)
$(B)/make_bank $(B)/make_twin: $(B)/make_%: $(call obj,data/make_%.c $(DATA_SRC)) $(STATIC)
	$(call say,LD,$@)
	$(call link)
$(B)/tests/main: $(call obj,$(TEST_SRC) $(DATA_SRC)) $(STATIC) | $(B)/tests/fail_io.so $(B)/tests/writer
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(call link,-lcunit)
$(B)/tests/fail_io.so: tests/shim/fail_io.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out $(SAN),$(CFLAGS)) -shared -o $@ $< -ldl
$(B)/tests/writer: $(call obj,tests/shim/writer.c) $(STATIC)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(call link)
$(B)/tests/bench: $(call obj,$(wildcard tests/bench/*.c) tests/judge.c) $(STATIC)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(call link)
$(B)/tests/peers: $(call obj,$(wildcard tests/peers/*.c) tests/bench/read.c) $(STATIC)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(call link,-ldl $(if $(call accepted,-include dnnl.h),-ldnnl))
$(B)/tests/peak $(B)/tests/distinct: $(B)/tests/%: $(B)/obj/tests/peak/%.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(call link)
# What needs libquant alone, for any processor (tests/extra/run.sh).
CORE_TESTS := $(shell sed -n 's|^SUITE(\(.*\))|tests/test_\1.c|p' tests/extra/suites.def) \
  $(wildcard tests/judge*.c) $(patsubst %,tests/%.c,main draw schemes short_memory \
  packed_matrix kmeans1d_cases textbook_entropy extra/cunit)
$(B)/tests/core: $(call obj,$(CORE_TESTS)) $(B)/libquant.a
$(B)/tests/digests: $(call obj,tests/extra/digests.c) $(B)/libquant.a
$(B)/tests/core $(B)/tests/digests:
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBM)
$(B)/tests/figures: $(call obj,$(wildcard tests/figures/*.c)) $(STATIC)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(call link)

.SECONDARY: $(call obj,$(wildcard notebooks-c/*.c))
$(B)/notebooks/%: $(B)/obj/notebooks-c/%.o $(B)/obj/notebooks-c/notebook.o $(STATIC)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(call link)

# ---- what people type -----------------------------------------------------------------------
DEPS := gcc libc6-dev pkg-config liblapacke-dev libopenblas-dev libfftw3-dev libgsl-dev \
        libcunit1-dev libjansson-dev zlib1g-dev libsqlite3-dev gnuplot-nox
DEPS_CI := clang libomp-dev clang-tidy
DEPS_EXTRA := libdnnl-dev gcc-aarch64-linux-gnu qemu-user
deps:
	@sh tests/deps.sh $(DEPS)
deps-extra:
	@sh tests/deps.sh $(DEPS) $(DEPS_EXTRA)
demo: deps
	@$(MAKE) --no-print-directory all
	@sh data/demo.sh $(B)/quant
test-programs: all $(B)/tests/main $(B)/tests/peak $(B)/tests/distinct
check: deps
	@$(MAKE) --no-print-directory test-programs
	$(Q)QUANT=$(B)/quant $(B)/tests/main
ci:
	@sh tests/deps.sh $(DEPS) $(DEPS_CI)
	@$(MAKE) --no-print-directory test-programs
	@sh tests/ci.sh
extra:
	@sh tests/extra/run.sh
asan: # a tenth of the random cases: the sanitizers are slow
	@$(MAKE) --no-print-directory B=build/asan OPT=-O1 \
	  SAN="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" test-programs
	$(Q)EXAMPLE_FLAGS="-fsanitize=address,undefined" QUANT=build/asan/quant build/asan/tests/main \
	  --cases 100
bench: all $(B)/tests/bench
	$(Q)$(B)/tests/bench
bench-peers: all $(B)/tests/peers
	$(Q)sh tests/peers/peers.sh $(B)/tests/peers $(PARTS)
figures: all $(B)/tests/figures
	$(Q)$(B)/tests/figures
NOTEBOOKS := $(patsubst notebooks-c/%.c,%,$(wildcard notebooks-c/[0-9]*.c))
notebooks: all $(NOTEBOOKS:%=$(B)/notebooks/%)
	@sh notebooks-c/run.sh $(B) $(NOTEBOOK)
lint:
	@sh tests/lint.sh
PUBLIC := $(patsubst %,quant/%,activation.h assert.h context.h encode.h fidelity.h gemm.h gemv.h kmeans1d.h \
  observer.h predict.h quant.h random.h scheme.h shape.h status.h status.def bank/bank.h \
  bank/dtype.def bank/output.h bank/packed.h bank/safetensors_write.h bank/sha256.h \
  lab/array_gate.h lab/chain.h lab/cliff.h lab/compare.h lab/gate.h lab/inspect.h lab/jacobian.h \
  lab/propagate.h lab/recipe.h lab/routing.h lab/whiteness.h model/block.h model/forward.h \
  model/model.h \
  lab/calibrate.h lab/stats.h \
  lab/grids.h)
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/man/man1
	for h in $(PUBLIC); do install -D -m 644 $$h $(DESTDIR)$(PREFIX)/include/$$h || exit 1; done
	install -m 755 $(B)/quant $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(B)/libquant.a $(B)/libquantlab.a $(DESTDIR)$(PREFIX)/lib/
	for l in libquant libquantlab; do install -m 755 $(B)/$$l.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/ && \
	  ln -sf $$l.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/$$l.so.$(SOVERSION) && \
	  ln -sf $$l.so.$(SOVERSION) $(DESTDIR)$(PREFIX)/lib/$$l.so; done
	install -m 644 $(B)/libquant.pc $(B)/libquantlab.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/
	install -m 644 quant/cli/quant.1 $(DESTDIR)$(PREFIX)/share/man/man1/
clean:
	rm -rf build

-include $(shell test -d $(B)/obj && find $(B)/obj -name '*.d')
