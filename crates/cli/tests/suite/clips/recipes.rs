//! What each clip is, and why it is there.

use super::Make::{Bytes, Cut, Damage, Ffmpeg, Join, Lose};
use super::Recipe;

macro_rules! recipes {
    ($($name:ident $ending:literal $make:expr;)*) => {
        &[$(Recipe { name: stringify!($name), ending: $ending, make: $make },)*]
    };
}

/// All clips.
pub const RECIPES: &[Recipe] = recipes! {
    // Closed groups of 15 frames, three B frames: the plain case.
    plain "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -f lavfi -i sine=440:r=48000:d=3 -c:v libx264 \
        -preset ultrafast -x264-params keyint=15:min-keyint=15:scenecut=0:bframes=3:open-gop=0 -crf 26 -c:a aac -b:a 64k");
    plain_mkv "mkv" Ffmpeg("-i {plain} -c copy -f matroska");
    plain_ts "ts" Ffmpeg("-i {plain} -c copy -f mpegts");
    // As a camera sends it.
    live "ts" Ffmpeg("-f lavfi -i testsrc2=s=320x180:r=30:d=4 -c:v libx264 -preset ultrafast -g 30 -bf 0 -f mpegts");
    live_b "ts" Ffmpeg("-f lavfi -i testsrc2=s=320x180:r=30:d=4 -c:v libx264 -preset ultrafast -g 30 -bf 3 -f mpegts");
    live_sound "ts" Ffmpeg("-f lavfi -i testsrc2=s=320x180:r=30:d=4 -f lavfi -i sine=440:r=48000:d=4 -c:v libx264 \
        -preset ultrafast -g 30 -bf 0 -c:a aac -b:a 64k -f mpegts");
    longer "mkv" Ffmpeg("-f lavfi -i testsrc2=s=320x180:r=25:d=8 -f lavfi -i sine=440:r=48000:d=8 -c:v libx264 -preset ultrafast \
        -x264-params keyint=20:bframes=2 -crf 26 -c:a aac -b:a 64k");
    // Easy, hard and still pictures, one after the other.
    mixed "mkv" Ffmpeg("-f lavfi -i testsrc2=s=320x180:r=25:d=5 -f lavfi -i testsrc2=s=320x180:r=25:d=4,noise=alls=12:allf=t:all_seed=3 \
        -f lavfi -i smptebars=s=320x180:r=25:d=3 -filter_complex [0][1][2]concat=n=3,format=yuv420p -c:v libx264 -preset ultrafast \
        -crf 16 -g 25");
    mixed_ts "ts" Ffmpeg("-i {mixed} -c copy -f mpegts");
    // Irregular times.
    vfr_mkv "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=60:d=3 -vf select=lt(mod(n\\,11)\\,4)+not(mod(n\\,7)) \
        -fps_mode vfr -c:v libx264 -preset ultrafast -x264-params keyint=15:bframes=3");
    vfr_mp4 "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=60:d=3 -vf \
        select=lt(mod(n\\,11)\\,4)+not(mod(n\\,7)),settb=1/90000,setpts=PTS+mod(N*N\\,701) \
        -fps_mode vfr -enc_time_base 1/90000 -video_track_timescale 90000 -c:v libx264 -preset ultrafast \
        -x264-params keyint=15:bframes=3");
    // A gap of 20 s in the middle.
    gap "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -vf setpts=PTS+gte(N\\,40)*20/TB -fps_mode vfr \
        -c:v libx264 -preset ultrafast -x264-params keyint=15");
    // Groups whose leading pictures need the group before.
    open_hevc "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -c:v libx265 -preset ultrafast \
        -x265-params keyint=15:min-keyint=15:scenecut=0:open-gop=1:bframes=4:log-level=error");
    open_hevc_mp4 "mp4" Ffmpeg("-i {open_hevc} -c copy -tag:v hvc1");
    open_hevc_ts "ts" Ffmpeg("-i {open_hevc} -c copy -f mpegts");
    open_h264 "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -c:v libx264 -preset fast \
        -x264-params keyint=15:min-keyint=15:scenecut=0:open-gop=1:bframes=3:b-pyramid=normal");
    open_mpeg2 "mpg" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -c:v mpeg2video -bf 2 -g 12 -q:v 4 -f mpeg");
    pyramid "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=30000/1001:d=3 -c:v libx264 -preset fast \
        -x264-params keyint=30:bframes=8:b-pyramid=normal:b-adapt=0:ref=5");
    // An edit list hides the frames between the key and the cut.
    edit_list "mp4" Ffmpeg("-ss 0.73 -i {plain} -c copy");
    edit_list_mov "mov" Ffmpeg("-ss 1.27 -i {open_h264} -c copy");
    late_start "mkv" Ffmpeg("-i {plain} -c copy -output_ts_offset 7.3");
    late_start_mp4 "mp4" Ffmpeg("-i {plain} -c copy -output_ts_offset 7.3");
    late_video "mkv" Ffmpeg("-itsoffset 0.4 -i {plain} -i {plain} -map 0:v -map 1:a -c copy");
    ts_offset "ts" Ffmpeg("-i {plain} -c copy -muxdelay 0 -output_ts_offset 5000 -f mpegts");
    // The 33 bits of a transport stream's clock run over midway: FFmpeg gives the times before that as negative ones.
    ts_wrap "ts" Ffmpeg("-i {plain} -c copy -muxdelay 0 -output_ts_offset 95442.2 -f mpegts");
    interlaced "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=50:d=3 -vf interlace=scan=tff -flags +ildct+ilme -c:v libx264 \
        -preset ultrafast -x264-params keyint=15:tff=1:bframes=2");
    interlaced_bff "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=50:d=3 -vf interlace=scan=bff -flags +ildct+ilme -top 0 \
        -c:v libx264 -preset ultrafast -x264-params keyint=15:bff=1:bframes=2");
    interlaced_mpeg2 "ts" Ffmpeg("-f lavfi -i testsrc2=s=192x128:r=50:d=3 -vf interlace=scan=tff -flags +ildct+ilme -top 1 \
        -c:v mpeg2video -bf 2 -g 12 -q:v 4 -f mpegts");
    avi_mpeg4 "avi" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -c:v mpeg4 -g 15 -q:v 4");
    avi_mpeg4_b "avi" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -f lavfi -i sine=440:d=3 -c:v mpeg4 -bf 2 -g 15 -q:v 4 \
        -c:a libmp3lame");
    avi_h264 "avi" Ffmpeg("-i {plain} -c:v copy -c:a libmp3lame");
    mpeg4_packed "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -c:v mpeg4 -bf 2 -g 15 -q:v 4");
    raw_h264 "h264" Ffmpeg("-i {plain} -map 0:v -c copy -bsf:v h264_mp4toannexb -f h264");
    raw_hevc "hevc" Ffmpeg("-i {open_hevc} -map 0:v -c copy -bsf:v hevc_mp4toannexb -f hevc");
    long_gop "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=4 -c:v libx264 -preset ultrafast \
        -x264-params keyint=infinite:scenecut=0:bframes=3");
    // No IDR but the first: every third of a second a column of intra blocks passes.
    intra_refresh "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=4 -c:v libx264 -preset ultrafast \
        -x264-params keyint=25:intra-refresh=1:bframes=0");
    one_frame "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25 -frames:v 1 -c:v libx264 -preset ultrafast");
    two_frames "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25 -frames:v 2 -c:v libx264 -preset ultrafast");
    picture "png" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25 -frames:v 1");
    mjpeg "avi" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -c:v mjpeg -q:v 4");
    ffv1 "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -c:v ffv1 -level 3");
    ffv1_gop "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -c:v ffv1 -level 3 -coder 1 -g 10");
    ffv1_12bit "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -pix_fmt yuv420p12le -c:v ffv1 -level 3 -strict -2");
    prores "mov" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -c:v prores_ks -profile:v 3");
    rgb "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -c:v ffv1 -pix_fmt bgr0");
    h264_10bit "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -pix_fmt yuv420p10le -c:v libx264 -preset ultrafast -g 15");
    h264_422 "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -pix_fmt yuv422p -c:v libx264 -preset ultrafast -g 15");
    h264_gray "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -pix_fmt gray -c:v libx264 -preset ultrafast -g 15");
    h264_odd_444 "mp4" Ffmpeg("-f lavfi -i testsrc2=s=177x99:r=25:d=2 -pix_fmt yuv444p -c:v libx264 -preset ultrafast -g 15");
    hevc_12bit_422 "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -pix_fmt yuv422p12le -c:v libx265 -preset ultrafast \
        -x265-params keyint=15:log-level=error");
    vp9_odd "webm" Ffmpeg("-f lavfi -i testsrc2=s=177x99:r=25:d=2 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 15 -b:v 200k");
    // Alternate reference frames: packets that show nothing.
    vp9_hidden "webm" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -c:v libvpx-vp9 -auto-alt-ref 1 -lag-in-frames 16 \
        -cpu-used 6 -deadline good -g 25 -b:v 100k");
    vp8 "webm" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -c:v libvpx -auto-alt-ref 1 -lag-in-frames 10 -cpu-used 8 -g 15 \
        -b:v 200k");
    av1 "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -c:v libsvtav1 -preset 10 -g 20 -svtav1-params lp=1");
    av1_mp4 "mp4" Ffmpeg("-i {av1} -c copy");
    av1_aom "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -c:v libaom-av1 -cpu-used 8 -usage good -lag-in-frames 12 \
        -g 20 -crf 40");
    rotated "mp4" Ffmpeg("-i {plain} -c copy -metadata:s:v:0 rotate=90");
    anamorphic "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -vf setsar=4/3 -c:v libx264 -preset ultrafast -g 15");
    hdr10 "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -color_primaries \
        bt2020 -color_trc smpte2084 -colorspace bt2020nc -x265-params keyint=15:log-level=error:colorprim=bt2020:\
transfer=smpte2084:colormatrix=bt2020nc:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):\
max-cll=1000,400:hdr10=1");
    colours "mp4" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=2 -vf scale=out_range=full:out_color_matrix=bt709,format=yuvj420p \
        -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range pc -c:v libx264 -preset ultrafast -g 15");
    smaller_ts "ts" Ffmpeg("-f lavfi -i testsrc2=s=128x96:r=25:d=2 -c:v libx264 -preset ultrafast -g 15 -output_ts_offset 5 \
        -f mpegts");
    // 25 MB in memory each.
    large "mkv" Ffmpeg("-f lavfi -i testsrc2=s=3840x2160:r=25 -frames:v 9 -pix_fmt yuv444p -c:v libx264 -preset ultrafast");
    // The picture becomes smaller after three seconds.
    resized "ts" Join(&["plain_video_ts", "smaller_ts"]);
    // The second part begins before the first one ends.
    overlapping "ts" Join(&["plain_video_ts", "plain_video_ts"]);
    longer_ts "ts" Ffmpeg("-i {longer} -map 0:v -c copy -f mpegts");
    // Its times jump back after eight seconds.
    jumping "ts" Join(&["longer_ts", "longer_ts"]);
    plain_video_ts "ts" Ffmpeg("-i {plain} -map 0:v -c copy -f mpegts");
    faststart "mp4" Ffmpeg("-i {plain} -c copy -movflags +faststart");
    cut_mp4 "mp4" Cut("faststart", 70);
    cut_mkv "mkv" Cut("plain_mkv", 70);
    cut_ts "ts" Cut("plain_ts", 70);
    no_index_mp4 "mp4" Cut("plain", 70);
    damaged_mkv "mkv" Damage("plain_mkv");
    damaged_ts "ts" Damage("plain_ts");
    damaged_hevc_ts "ts" Damage("open_hevc_ts");
    lossy_ts "ts" Lose("plain_ts");
    lossy_hevc_ts "ts" Lose("open_hevc_ts");
    damaged_mp4 "mp4" Damage("plain");
    damaged_10bit "mkv" Damage("h264_10bit");
    // Every stream's clock falls back by three seconds midway.
    joined "ts" Join(&["plain_ts", "plain_ts"]);
    // From its second second on, the sound stands more than two days later.
    sound_gap "mkv" Ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=3 -f lavfi -i sine=440:r=48000:d=2 \
        -af asetpts=PTS+gte(T\\,1)*200000/TB -c:v libx264 -preset ultrafast -g 15 -c:a flac");
    small "y4m" Ffmpeg("-f lavfi -i testsrc2=s=32x24:r=25:d=6 -pix_fmt yuv420p");
    srt "srt" Bytes(b"1\n00:00:00,200 --> 00:00:01,000\nFirst <i>words</i>\n\n2\n00:00:01,500 --> 00:00:02,500\nSecond words\n");
    ass "ass" Ffmpeg("-i {srt}");
    chapters "ffmeta" Bytes(b";FFMETADATA1\ntitle=A title\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1200\ntitle=One\n\
[CHAPTER]\nTIMEBASE=1/1000\nSTART=1200\nEND=3000\ntitle=Two\n");
    font "ttf" Bytes(b"This passes for a font.");
    // Sound in three codecs and languages, two kinds of text, chapters, a font, dispositions.
    many "mkv" Ffmpeg("-i {plain} -f lavfi -i sine=880:r=48000:d=3 -f lavfi -i sine=220:r=44100:d=3 -i {srt} -i {ass} -i {chapters} \
        -map 0:v -map 0:a -map 1 -map 2 -map 3 -map 4 -map_metadata 5 -map_chapters 5 -c:v copy -c:a:0 copy -c:a:1 libopus -c:a:2 flac \
        -c:s:0 srt -c:s:1 ass -metadata:s:a:0 language=ger -metadata:s:a:1 language=eng -metadata:s:a:2 language=fre \
        -metadata:s:a:1 title=Comments -metadata:s:s:0 language=eng -metadata:s:s:1 language=jpn -disposition:a:0 default \
        -disposition:a:1 comment -disposition:s:0 0 -disposition:s:1 forced -attach {font} -metadata:s:t mimetype=font/ttf \
        -metadata:s:t filename=font.ttf");
    timed_text "mp4" Ffmpeg("-i {plain} -i {srt} -i {chapters} -map 0 -map 1 -map_metadata 2 -map_chapters 2 -c copy -c:s mov_text \
        -metadata:s:s:0 language=eng");
    cover "mp4" Ffmpeg("-i {plain} -i {picture} -map 0 -map 1 -c copy -disposition:v:1 attached_pic");
    audio_only "m4a" Ffmpeg("-f lavfi -i sine=440:d=2 -c:a aac");
    empty "mp4" Bytes(b"");
    text "mp4" Bytes(b"This is no video, only some text that calls itself one.\n");
};
