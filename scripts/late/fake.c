// A libva, libva-drm and libvpl that do nothing but say whether they were called rightly: check.sh puts them where the
// bundle's programs must find the system's. They lack most functions, as older libraries lack newer ones.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <va/va.h>
#include <va/va_drm.h>
#include <vpl/mfx.h>

static const VADisplay the_display = (VADisplay)(intptr_t)0xfa4e;
static char said[200] = "the fake libva has nothing to say";

static VAStatus check(VADisplay display) {
    return display == the_display ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_INVALID_DISPLAY;
}

VADisplay vaGetDisplayDRM(int fd) { return fd >= 0 ? the_display : NULL; }

VAStatus vaSetDriverName(VADisplay display, char *name) {
    (void)name;
    return check(display);
}

VAStatus vaInitialize(VADisplay display, int *major, int *minor) {
    *major = 1;
    *minor = 0;
    return check(display);
}

VAStatus vaTerminate(VADisplay display) { return check(display); }

const char *vaErrorStr(VAStatus status) {
    (void)status;
    return said;
}

int vaMaxNumImageFormats(VADisplay display) { return display == the_display; }

VAStatus vaQueryImageFormats(VADisplay display, VAImageFormat *formats, int *count) {
    memset(formats, 0, sizeof *formats);
    formats->fourcc = VA_FOURCC_NV12;
    *count = 1;
    return check(display);
}

// Eight arguments: two of them lie on the stack.
VAStatus vaCreateSurfaces(VADisplay display, unsigned format, unsigned width, unsigned height, VASurfaceID *surfaces,
                          unsigned count, VASurfaceAttrib *attributes, unsigned attribute_count) {
    int nv12 = 0;
    for (unsigned i = 0; i < attribute_count; i++)
        nv12 |= attributes[i].type == VASurfaceAttribPixelFormat && attributes[i].value.value.i == VA_FOURCC_NV12;
    snprintf(said, sizeof said, "the fake libva makes no %s surface of %ux%u",
             display == the_display && format == VA_RT_FORMAT_YUV420 && surfaces && count == 1 && nv12 ? "NV12" : "unknown",
             width, height);
    return VA_STATUS_ERROR_ALLOCATION_FAILED;
}

static int a_loader, a_config;

mfxLoader MFXLoad(void) { return (mfxLoader)&a_loader; }

mfxConfig MFXCreateConfig(mfxLoader loader) { return loader == (mfxLoader)&a_loader ? (mfxConfig)&a_config : NULL; }

// Any other number than this means that something went wrong on the way.
mfxStatus MFXSetConfigFilterProperty(mfxConfig config, const mfxU8 *name, mfxVariant value) {
    return config == (mfxConfig)&a_config && !strcmp((const char *)name, "mfxImplDescription.Impl") &&
                   value.Type == MFX_VARIANT_TYPE_U32 && value.Data.U32 == MFX_IMPL_TYPE_HARDWARE
               ? MFX_ERR_INCOMPATIBLE_VIDEO_PARAM
               : MFX_ERR_UNKNOWN;
}

void MFXUnload(mfxLoader loader) { (void)loader; }
