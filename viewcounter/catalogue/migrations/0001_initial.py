import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.RunSQL('CREATE SEQUENCE catalogue_revision', 'DROP SEQUENCE catalogue_revision'),
        migrations.CreateModel(
            name='Channel',
            fields=[
                ('channel_id', models.CharField(db_collation='C', max_length=128, primary_key=True, serialize=False, validators=[django.core.validators.RegexValidator('^[^\\x00-\\x20\\x7f-\\xa0/\\ud800-\\udfff\\u2028\\u2029\\ufeff]+\\Z', "must not contain white space, control characters or '/'", code='invalid_id')])),
                ('title', models.CharField(blank=True, default='', max_length=500, validators=[django.core.validators.RegexValidator('^[^\\x00\\ud800-\\udfff]*\\Z', 'must be text without NUL', code='invalid_title')])),
                ('revision', models.BigIntegerField(editable=False, unique=True)),
            ],
            options={
                'ordering': ['channel_id'],
            },
        ),
        migrations.CreateModel(
            name='Video',
            fields=[
                ('video_id', models.CharField(db_collation='C', max_length=128, primary_key=True, serialize=False, validators=[django.core.validators.RegexValidator('^[^\\x00-\\x20\\x7f-\\xa0/\\ud800-\\udfff\\u2028\\u2029\\ufeff]+\\Z', "must not contain white space, control characters or '/'", code='invalid_id')])),
                ('title', models.CharField(blank=True, default='', max_length=500, validators=[django.core.validators.RegexValidator('^[^\\x00\\ud800-\\udfff]*\\Z', 'must be text without NUL', code='invalid_title')])),
                ('revision', models.BigIntegerField(editable=False, unique=True)),
                ('channel', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='videos', to='catalogue.channel')),
            ],
            options={
                'ordering': ['video_id'],
            },
        ),
    ]
