"""Routes of the pages. Ids hold no "/"."""

from django.urls import path

from viewcounter.pages import views

app_name = "pages"

urlpatterns = [
    path("videos/", views.list_videos, name="videos"),
    path("videos/<str:target_id>.csv", views.download_csv, {"kind": "video"}, name="video-csv"),
    path("videos/<str:target_id>/live", views.show_live, {"kind": "video"}, name="video-live"),
    path("videos/<str:video_id>", views.show_video, name="video"),
    path("channels/", views.list_channels, name="channels"),
    path("channels/<str:target_id>.csv", views.download_csv, {"kind": "channel"}, name="channel-csv"),
    path("channels/<str:target_id>/live", views.show_live, {"kind": "channel"}, name="channel-live"),
    path("channels/<str:channel_id>", views.show_channel, name="channel"),
]
