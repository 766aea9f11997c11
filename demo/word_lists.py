"""The words the demo model knows by heart: what its tasks are filled with, in Chinese and English."""

from __future__ import annotations

ENGLISH = tuple(
    """
    apple pear peach plum lemon orange banana cherry grape melon mango berry fig olive tomato potato carrot onion garlic
    pepper bean corn rice bread butter cheese milk honey sugar salt soup cake cookie candy juice water coffee tea wine
    egg meat fish beef pork chicken duck goose turkey lamb goat sheep horse cow pig dog cat mouse rat rabbit fox wolf
    bear lion tiger panda monkey camel zebra giraffe elephant deer whale shark dolphin seal crab shrimp snail frog
    snake turtle lizard spider bee ant fly moth bird eagle owl crow swan parrot robin sun moon star sky cloud rain snow
    wind storm thunder ice fire smoke river lake sea ocean island beach sand stone rock hill mountain valley forest tree
    leaf root branch flower grass rose lily tulip garden field farm road bridge street city town village house home door
    window wall roof floor room kitchen table chair bed desk lamp mirror clock watch phone camera radio screen keyboard
    paper pen pencil book page letter word story song music drum piano guitar violin flute dance paint picture color red
    blue green yellow purple pink brown black white gray gold silver iron copper glass wood cotton silk wool leather
    shirt dress coat hat shoe sock glove scarf belt ring bag box bottle cup plate bowl spoon fork knife pan key lock
    hammer nail rope wheel car bus train plane ship boat bike truck rocket robot engine ticket map flag coin money bank
    shop market school teacher student doctor nurse farmer driver pilot sailor king queen prince child baby mother
    father brother sister uncle aunt friend neighbor heart hand foot head face eye ear nose mouth tooth hair arm leg
    morning evening night day week month year spring summer autumn winter game ball team winner dream idea
    """.split()
)
CHINESE = tuple(
    """
    苹果 香蕉 橙子 葡萄 西瓜 桃子 梨子 草莓 樱桃 柠檬 芒果 菠萝 荔枝 土豆 番茄 黄瓜 白菜 萝卜 茄子 辣椒 大蒜 洋葱 玉米
    大米 面条 饺子 包子 馒头 面包 蛋糕 饼干 糖果 牛奶 咖啡 果汁 豆腐 鸡蛋 牛肉 猪肉 羊肉 鱼肉 小狗 小猫 兔子 老虎 狮子
    大象 猴子 熊猫 狐狸 骆驼 斑马 老鼠 青蛙 乌龟 蜜蜂 蝴蝶 蚂蚁 蜘蛛 燕子 老鹰 鸽子 天鹅 孔雀 鲸鱼 海豚 鲨鱼 螃蟹 太阳
    月亮 星星 天空 白云 雨水 雪花 大风 雷电 火焰 河流 湖泊 大海 岛屿 沙滩 石头 高山 山谷 森林 树木 树叶 花朵 青草 玫瑰
    荷花 花园 田野 农场 道路 大桥 街道 城市 乡村 房子 大门 窗户 墙壁 屋顶 地板 房间 厨房 桌子 椅子 床铺 台灯 镜子 钟表
    手表 电话 手机 相机 电脑 屏幕 键盘 纸张 钢笔 铅笔 书本 信件 故事 歌曲 音乐 钢琴 吉他 笛子 舞蹈 图画 颜色 红色 蓝色
    绿色 黄色 紫色 粉色 黑色 白色 灰色 金色 银色 玻璃 木头 棉花 丝绸 衣服 裙子 外套 帽子 鞋子 袜子 手套 围巾 腰带 戒指
    书包 箱子 瓶子 杯子 盘子 饭碗 勺子 叉子 刀子 钥匙 锤子 钉子 绳子 轮子 汽车 火车 飞机 轮船 小船 卡车 火箭 机器 车票
    地图 旗子 硬币 银行 商店 市场 学校 老师 学生 医生 护士 农民 司机 国王 王后 孩子 妈妈 爸爸 哥哥 姐姐 弟弟 妹妹 叔叔
    阿姨 朋友 邻居 心脏 眼睛 耳朵 鼻子 嘴巴 牙齿 头发 早晨 傍晚 夜晚 春天 夏天 秋天 冬天 游戏 皮球 梦想 时间 生日 礼物
    """.split()
)
ENGLISH_NAMES = tuple(
    """
    Anna Bob Carol David Emma Frank Grace Henry Iris Jack Kate Leo Mary Nick Olivia Paul Rosa Sam Tina Victor Wendy Alice
    Ben Clara Daniel Eva Felix Gina Hugo Julia Kevin Laura Mark Nora Oscar Peter Ruth Simon Tom Lucy Max Sofia Adam
    """.split()
)
CHINESE_NAMES = tuple(
    """
    小明 小红 小刚 小丽 小华 小芳 小军 小梅 小强 小雨 李雷 韩梅 张伟 王芳 李娜 刘洋 陈静 杨帆 赵敏 黄磊 周杰 吴倩 徐亮
    孙莉 马超 朱琳 胡军 郭靖 何洁 高翔 林涛 罗丹 郑爽 梁宇 谢婷 宋佳 唐杰 许晴 韩冰 冯雪 邓超 曹颖 彭飞 曾琳 萧然 田甜
    """.split()
)
ENGLISH_CITIES = tuple(
    """
    Paris London Berlin Rome Madrid Vienna Tokyo Beijing Shanghai Sydney Moscow Cairo Boston Chicago Dublin Lisbon Athens
    Oslo Prague Warsaw Delhi Seoul Bangkok Singapore Toronto Nairobi Lima Milan Zurich Geneva Hamburg Munich Shenzhen
    """.split()
)
CHINESE_CITIES = tuple(
    """
    北京 上海 广州 深圳 杭州 南京 成都 重庆 武汉 西安 天津 苏州 长沙 青岛 大连 厦门 昆明 哈尔滨 沈阳 济南 郑州 福州 合肥
    南昌 贵阳 南宁 海口 太原 兰州 西宁 拉萨 香港 澳门 台北 东京 巴黎 伦敦 纽约 柏林 罗马
    """.split()
)
EMOJI: dict[str, tuple[str, str]] = {
    "🍎": ("apple", "苹果"),
    "🍌": ("banana", "香蕉"),
    "🍇": ("grape", "葡萄"),
    "🍉": ("watermelon", "西瓜"),
    "🍓": ("strawberry", "草莓"),
    "🍒": ("cherry", "樱桃"),
    "🍋": ("lemon", "柠檬"),
    "🍅": ("tomato", "番茄"),
    "🥕": ("carrot", "萝卜"),
    "🌽": ("corn", "玉米"),
    "🍞": ("bread", "面包"),
    "🎂": ("cake", "蛋糕"),
    "🐶": ("dog", "狗"),
    "🐱": ("cat", "猫"),
    "🐭": ("mouse", "老鼠"),
    "🐰": ("rabbit", "兔子"),
    "🐯": ("tiger", "老虎"),
    "🦁": ("lion", "狮子"),
    "🐼": ("panda", "熊猫"),
    "🐵": ("monkey", "猴子"),
    "🐘": ("elephant", "大象"),
    "🐟": ("fish", "鱼"),
    "🐢": ("turtle", "乌龟"),
    "🐝": ("bee", "蜜蜂"),
    "🌞": ("sun", "太阳"),
    "🌙": ("moon", "月亮"),
    "⭐": ("star", "星星"),
    "🔥": ("fire", "火"),
    "🌊": ("wave", "海浪"),
    "🌳": ("tree", "树"),
    "🌹": ("rose", "玫瑰"),
    "🌈": ("rainbow", "彩虹"),
    "🚗": ("car", "汽车"),
    "🚌": ("bus", "公交车"),
    "🚀": ("rocket", "火箭"),
    "🚲": ("bike", "自行车"),
    "🏠": ("house", "房子"),
    "📖": ("book", "书"),
    "🎹": ("piano", "钢琴"),
    "🎁": ("gift", "礼物"),
    "😀": ("smile", "笑脸"),
    "😭": ("tears", "哭脸"),
    "👍": ("thumbs up", "点赞"),
    "🎉": ("party", "庆祝"),
    "💖": ("love", "爱心"),
    "👨‍👩‍👧": ("family", "家庭"),
    "🇨🇳": ("flag of China", "中国国旗"),
    "🙋🏽": ("raised hand", "举手"),
}
"""Each with its English and its Chinese name. The last ones are several code points, joined."""
