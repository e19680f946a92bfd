// What FFmpeg is linked with in place of libva, libva-drm and libvpl: the system's own libraries, opened when they are
// first needed. A program made this way starts where they are missing, and never brings a library that is older than the
// system's drivers. build.sh compiles it; docs/portable.md says why.
//
// Each function is a jump through a pointer, so that whatever the caller put into registers and on the stack arrives as
// it was. FFmpeg begins all work with a display (vaGetDisplayDRM) or a loader (MFXLoad): those two open the libraries and
// set the pointers. Until then, and without the libraries, and for a function that the system's older one lacks, the
// pointers lead to functions here that say no.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>

typedef void (*function)(void);

struct late {
    const char *name;
    function *target;
};

// What libva's vaErrorStr would say.
static char va_problem[512] = "no VA-API display has been opened";

// VA_STATUS_ERROR_UNIMPLEMENTED
static int va_no(void) { return 0x14; }
static const char *va_no_text(void) { return va_problem; }
// For functions that return a number of things, a truth or a pointer.
static void *va_no_thing(void) { return NULL; }
// MFX_ERR_NOT_FOUND
static int vpl_no(void) { return -9; }
static void *vpl_no_thing(void) { return NULL; }

// The list that build.sh makes: LATE_VA(name, what to call instead) and LATE_VPL(the same).
#define JUMP(name, otherwise)                                                                                        \
    function late_##name = (function)otherwise;                                                                      \
    void name(void);                                                                                                 \
    __attribute__((naked)) void name(void) { __asm__("jmp *late_" #name "(%rip)"); }
#define LATE_VA JUMP
#define LATE_VPL JUMP
#include "list.h"
#undef LATE_VA
#undef LATE_VPL

#define ENTRY(name, otherwise) {#name, &late_##name},
#define NOTHING(name, otherwise)

#define LATE_VA ENTRY
#define LATE_VPL NOTHING
static const struct late va_functions[] = {
#include "list.h"
};
#undef LATE_VA
#undef LATE_VPL

#define LATE_VA NOTHING
#define LATE_VPL ENTRY
static const struct late vpl_functions[] = {
#include "list.h"
};

static void set(void *library, const struct late *functions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *found = dlsym(library, functions[i].name);
        if (found)
            *functions[i].target = (function)found;
    }
}

static void *(*va_get_display)(int);
static char no_display;

static void load_va(void) {
    void *drm = NULL;
    // They stay open: their drivers may have threads.
    void *va = dlopen("libva.so.2", RTLD_NOW | RTLD_LOCAL);
    if (va)
        drm = dlopen("libva-drm.so.2", RTLD_NOW | RTLD_LOCAL);
    if (drm)
        va_get_display = (void *(*)(int))dlsym(drm, "vaGetDisplayDRM");
    if (va_get_display) {
        set(va, va_functions, sizeof va_functions / sizeof *va_functions);
    } else {
        const char *why = dlerror();
        snprintf(va_problem, sizeof va_problem,
                 "this system's libva can't be loaded: %s; install libva2, libva-drm2 (Debian's names) and the GPU's driver",
                 why ? why : "no reason given");
    }
}

// Without libva it is a display that can't be initialised: FFmpeg then prints vaErrorStr's text, which it does not where
// there is no display.
void *vaGetDisplayDRM(int fd) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_va);
    return va_get_display ? va_get_display(fd) : &no_display;
}

static void *(*vpl_load)(void);

static void load_vpl(void) {
    void *vpl = dlopen("libvpl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (vpl)
        vpl_load = (void *(*)(void))dlsym(vpl, "MFXLoad");
    if (vpl_load)
        set(vpl, vpl_functions, sizeof vpl_functions / sizeof *vpl_functions);
}

void *MFXLoad(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_vpl);
    return vpl_load ? vpl_load() : NULL;
}
